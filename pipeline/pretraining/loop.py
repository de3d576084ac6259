"""The training loop of the tiny SigLIP: steps, schedule, checkpoints and a log."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from pydantic import Field
from tokenizers import Tokenizer
from torch.optim import Optimizer

from pipeline.config import Options
from pipeline.pretraining.architecture import create_model, write_weights
from pipeline.pretraining.attention import use_explicit_attention
from pipeline.pretraining.batches import BatchSampler
from pipeline.pretraining.checkpoint import load_checkpoint, save_checkpoint
from pipeline.pretraining.forward import features_of, truth_of
from pipeline.pretraining.objective import TwoScaleLoss
from pipeline.pretraining.optimizer import build_optimizers, clip_gradients, scheduled, set_learning_rate
from pipeline.pretraining.pool import ScenePool


class PretrainingOptions(Options):
    """How the tiny SigLIP is trained."""

    seed: int = Field(default=1, ge=0, description="seed of the pool, the weights and the batches")
    scenes: int = Field(default=24_000, gt=0, description="rendered training scenes")
    steps: int = Field(default=3500, gt=0, description="optimizer steps")
    images: int = Field(default=64, gt=0, description="images per step")
    changes: int = Field(default=2, gt=0, description="captions with one fact changed, per image")
    bank_things: int = Field(default=40, gt=0, description="things of the batch the phrase bank names")
    patches: int = Field(default=16, gt=0, description="patches scored per image")
    learning_rate: float = Field(default=2e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="decoupled decay of the matrices")
    schedule: tuple[tuple[int, float], ...] = Field(
        default=((0, 0.005), (199, 1.0), (1650, 1.0), (2500, 0.485), (3000, 0.485), (3500, 0.0)),
        description="(step, factor): the learning rate's factor is linear between these points",
    )
    gradient_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    caption_weight: float = Field(default=1.0, ge=0, description="weight of captions against images")
    changed_weight: float = Field(default=2.0, ge=0, description="weight of captions with one fact changed")
    focus_step: int = Field(default=1500, ge=0, description="from here on, captions change in harder facts")
    focus_weight: float = Field(default=10.0, ge=0, description="weight of changed captions from there on")
    relation_step: int = Field(default=2500, ge=0, description="from here on, phrases say where things are")
    image_phrase_weight: float = Field(default=1.0, ge=0, description="weight of phrases against images")
    patch_phrase_weight: float = Field(default=1.0, ge=0, description="weight of phrases against patches")

    def weights(self, step: int) -> dict[str, float]:
        """The weight of each term of the loss at that step, by the term's name."""
        return {
            "caption": self.caption_weight,
            "changed": self.changed_weight if step < self.focus_step else self.focus_weight,
            "image_phrase": self.image_phrase_weight,
            "patch_phrase": self.patch_phrase_weight,
        }


LOG_EVERY = 50
CHECKPOINT_EVERY = 500


def train(
    folder: Path,
    pool: ScenePool,
    options: PretrainingOptions,
    checkpoints: Path,
    report: Callable[[dict[str, Any]], None] = lambda record: None,
) -> CustomTextCLIP:
    """Train the model that `folder` describes; its weights are written there at the end.

    `folder` holds `open_clip_config.json` and the tokenizer. Training continues from the checkpoint in
    `checkpoints`, if there is one. `report` receives a record every `LOG_EVERY` steps: the step, the mean of
    each loss term since the last record, and images per second.
    """
    torch.manual_seed(options.seed)
    model, objective = create_model(folder), TwoScaleLoss()
    use_explicit_attention(model)
    model.train()
    optimizers = build_optimizers(model, objective, options.learning_rate, options.weight_decay)
    first = load_checkpoint(checkpoints, model, objective, optimizers)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    sampler = BatchSampler(
        pool,
        tokenizer,
        options.seed,
        options.images,
        options.changes,
        options.bank_things,
        options.patches,
        options.focus_step,
        options.relation_step,
    )
    log = _Log(checkpoints / "log.jsonl", options.images, report)
    for step in range(first, options.steps):
        factor = scheduled(step, options.schedule)
        set_learning_rate(optimizers, options.learning_rate * factor)
        log.add(step, _step(model, objective, optimizers, sampler, step, options))
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(checkpoints, step + 1, model, objective, optimizers)
    write_weights(folder, model)
    return model


def _step(
    model: CustomTextCLIP,
    objective: TwoScaleLoss,
    optimizers: list[Optimizer],
    sampler: BatchSampler,
    step: int,
    options: PretrainingOptions,
) -> dict[str, float]:
    batch = sampler.batch(step)
    features, truth = features_of(model, batch), truth_of(batch)
    terms = objective(features, truth, model.logit_scale.exp(), model.logit_bias)
    weights = options.weights(step)
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    torch.autograd.backward(loss)
    norm = clip_gradients(optimizers, options.gradient_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {**{name: float(term.detach()) for name, term in terms.items()}, "gradient_norm": norm}


class _Log:
    """Averages the records of `LOG_EVERY` steps and appends them to a JSON-lines file."""

    def __init__(self, path: Path, images: int, report: Callable[[dict[str, Any]], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.images, self.report = path, images, report
        self.terms: list[dict[str, float]] = []
        self.started = time.monotonic()

    def add(self, step: int, terms: dict[str, float]) -> None:
        self.terms.append(terms)
        if (step + 1) % LOG_EVERY:
            return
        seconds = time.monotonic() - self.started
        means = {name: sum(entry[name] for entry in self.terms) / len(self.terms) for name in terms}
        rate = len(self.terms) * self.images / seconds
        record = {"step": step + 1, "images_per_second": round(rate, 1)}
        record |= {name: round(mean, 4) for name, mean in means.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.report(record)
        self.terms, self.started = [], time.monotonic()
