"""The one training loop: batches from a cache in, a trained dictionary out, resumable at any step."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cache import PairBatch, PairLoader
from pipeline.checkpoint import Progress, Record, TrainingState, load_checkpoint, save_checkpoint
from pipeline.config import Options
from pipeline.errors import RunError
from pipeline.sae.base import SparseAutoencoder


class TrainOptions(Options):
    """How a dictionary is trained; defaults are the paper's where it gives them (LUCID, arXiv 2602.07311)."""

    seed: int = Field(0, ge=0, description="Decides initial weights and batch order.")
    epochs: int = Field(200, ge=1)
    batch_pairs: int = Field(256, ge=1, description="Pairs per step.")
    learning_rate: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0, description="AdamW's; matrices only, biases are not decayed.")
    warmup_steps: int = Field(
        500, ge=0, description="Linear warm-up before the cosine; the paper gives none."
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest global gradient norm; the paper gives none.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Autocast over float32 weights.")
    device: str = Field("auto", description="`auto`, or a torch device such as `cuda:0`.")
    placement: Literal["auto", "device", "host", "stream"] = Field(
        "auto", description="Where the cache lives."
    )
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints.")
    record_every: int = Field(10, ge=1, description="Steps between records of the losses.")


def resolve_device(name: str) -> torch.device:
    """The device that `name` stands for; `auto` is CUDA where there is one, else the CPU.

    Raises:
        RunError: the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"device {name!r} cannot be used ({reason}); use `auto` or `cpu`") from error


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then a half cosine that reaches zero one step after the last.

    Args:
        step: Zero-based step.
        total_steps: Steps of the whole run.
        warmup_steps: Steps of warm-up; capped at a tenth of the run, so that short runs train too.
    """
    warmup = min(warmup_steps, total_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))


def train(
    sae: SparseAutoencoder,
    loader: PairLoader,
    options: TrainOptions,
    checkpoint: Path,
    identity: str,
    record: Callable[[Record], None],
    advance: Callable[[int, int], None],
) -> None:
    """Train `sae` in place for `options.epochs` over `loader`, going on from `checkpoint` if one fits.

    Args:
        sae: An initialised dictionary on its device.
        loader: Batches as a pure function of (seed, epoch, step).
        options: See TrainOptions.
        checkpoint: File that holds the run's state while it is unfinished.
        identity: Digest of everything that decides the result (options, cache); guards the resume.
        record: Receives every record of losses, those before a resume included, each with its `step`.
        advance: Receives (steps done, total steps) after every step.

    Raises:
        RunError: the loss is not finite.
    """
    total_steps = options.epochs * loader.steps_per_epoch
    if total_steps == 0:
        raise RunError(
            f"the cache holds fewer pairs than one batch (train.batch_pairs is {options.batch_pairs})"
        )
    optimizer = _optimizer(sae, options)
    state = TrainingState({"sae": sae}, [optimizer])
    step, history = load_checkpoint(checkpoint, identity, state)
    for entry in history:
        record(entry)
    while step < total_steps:
        epoch, first_step = divmod(step, loader.steps_per_epoch)
        for batch in loader.batches(epoch, first_step):
            factor = learning_rate_factor(step, total_steps, options.warmup_steps)
            terms = _train_step(sae, batch, optimizer, options, options.learning_rate * factor, step)
            step += 1
            if step % options.record_every == 0 or step == total_steps:
                history.append({"step": step} | {name: float(term) for name, term in terms.items()})
                record(history[-1])
            if step % options.checkpoint_every == 0 or step == total_steps:
                save_checkpoint(checkpoint, identity, state, Progress(step, history))
            advance(step, total_steps)


def _optimizer(sae: nn.Module, options: TrainOptions) -> torch.optim.AdamW:
    matrices = [parameter for parameter in sae.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in sae.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


def _train_step(
    sae: SparseAutoencoder,
    batch: PairBatch,
    optimizer: torch.optim.Optimizer,
    options: TrainOptions,
    learning_rate: float,
    step: int,
) -> dict[str, Tensor]:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    with torch.autocast(
        batch.vision_tokens.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"
    ):
        losses = sae.losses(batch)
    if not torch.isfinite(losses.total):
        pairs = ", ".join(map(str, batch.pair[:8].tolist()))
        raise RunError(
            f"the loss is not finite at step {step} (pairs {pairs}, ...); lower train.learning_rate"
        )
    optimizer.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]
    sae.project_gradients()
    nn.utils.clip_grad_norm_(sae.parameters(), options.clip_norm)
    optimizer.step()
    sae.normalise_weights()
    return {"total": losses.total.detach(), **{name: term.detach() for name, term in losses.terms.items()}}
