"""The training loop of the tiny SigLIP: steps, schedule, checkpoints and a log."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from tokenizers import Tokenizer
from torch.nn.functional import normalize
from torch.optim import Optimizer

from pipeline.runs.checkpoint import Progress, TrainingState, load_checkpoint, save_checkpoint
from pipeline.world.pretraining.architecture import GRID, create_model, write_weights
from pipeline.world.pretraining.attention import use_explicit_attention
from pipeline.world.pretraining.batches import BatchSampler
from pipeline.world.pretraining.forward import features_of, truth_of
from pipeline.world.pretraining.objective import TwoScaleLoss
from pipeline.world.pretraining.optimizer import (
    build_optimizers,
    clip_gradients,
    scheduled,
    set_learning_rate,
)
from pipeline.world.pretraining.options import PretrainingOptions
from pipeline.world.pretraining.pool import ScenePool

LOG_EVERY = 50
CHECKPOINT_EVERY = 500
CHECKPOINT_FILE = "checkpoint.safetensors"


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
    state = TrainingState({"model": model, "objective": objective}, optimizers)
    checkpoint, identity = checkpoints / CHECKPOINT_FILE, options.model_dump(mode="json")
    first, _ = load_checkpoint(checkpoint, identity, state)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    sampler = BatchSampler(pool, tokenizer, options)
    log = _Log(checkpoints / "log.jsonl", options.images, report)
    for step in range(first, options.steps):
        if step == options.place_step:
            distinguish_sides(model, tokenizer, options.seed)
        factor = scheduled(step, options.schedule)
        set_learning_rate(optimizers, options.learning_rate * factor)
        log.add(step, _step(model, objective, optimizers, sampler, step, options))
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(checkpoint, identity, state, Progress(step + 1, []))
    write_weights(folder, model)
    return model


def distinguish_sides(model: CustomTextCLIP, tokenizer: Tokenizer, seed: int) -> None:
    """Tell left from right: new embeddings for the two words, and a ramp along the columns of the patch positions.

    Up to then nothing in the loss asks for either, so the two words share every gradient and end up alike, and the
    patches forget their columns. Both being absent is a saddle point: neither can begin without the other.
    """
    generator = torch.Generator().manual_seed(seed)
    words, positions = model.text.token_embedding.weight, model.visual.positional_embedding
    sides = [tokenizer.token_to_id(word) for word in ("left", "right")]
    directions = normalize(torch.randn(3, words.shape[1], generator=generator), dim=-1)
    ramp = torch.linspace(-1.7, 1.7, GRID).repeat(GRID)
    with torch.no_grad():
        words[sides] = directions[:2] * words.norm(dim=-1).mean()
        positions[1:] += ramp[:, None] * directions[2] * positions.norm(dim=-1).mean()


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
