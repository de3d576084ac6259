"""The one training loop: batches from a cache in, trained dictionaries out, resumable at any step."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cache import PairBatch, PairLoader
from pipeline.checkpoint import Progress, Record, TrainingState, load_checkpoint, save_checkpoint
from pipeline.config import Options
from pipeline.errors import ConfigError, RunError
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


class Trainee:
    """One dictionary in training: its optimiser, its schedule, the losses so far, and its checkpoint.

    Attributes:
        step: steps done.
        total_steps: steps of the whole run.
    """

    def __init__(
        self,
        sae: SparseAutoencoder,
        options: TrainOptions,
        checkpoint: Path,
        identity: str,
        record: Callable[[Record], None],
    ) -> None:
        """Train `sae` in place.

        Args:
            sae: An initialised dictionary on its device.
            options: See TrainOptions.
            checkpoint: File that holds the run's state while it is unfinished.
            identity: Digest of everything that decides the result (options, cache); guards the resume.
            record: Receives every record of losses, those before a resume included, each with its `step`.
        """
        self.options = options
        self.step = self.total_steps = 0
        self._sae = sae
        self._optimizer = _optimizer(sae, options)
        self._checkpoint = checkpoint
        self._identity = identity
        self._history: list[Record] = []
        self._record = record

    def resume(self, steps_per_epoch: int) -> None:
        """Go on from the checkpoint if it is of this run, else from the start.

        Raises:
            RunError: the checkpoint cannot be read.
        """
        self.total_steps = self.options.epochs * steps_per_epoch
        self.step, self._history = load_checkpoint(self._checkpoint, self._identity, self._state)
        for entry in self._history:
            self._record(entry)

    def learn(self, batch: PairBatch) -> None:
        """Take one step, and keep what is due after it: a record, a checkpoint.

        Raises:
            RunError: the loss is not finite.
        """
        options = self.options
        factor = learning_rate_factor(self.step, self.total_steps, options.warmup_steps)
        terms = _train_step(
            self._sae, batch, self._optimizer, options, options.learning_rate * factor, self.step
        )
        self.step += 1
        done = self.step == self.total_steps
        if done or self.step % options.record_every == 0:
            losses = {name: float(term) for name, term in terms.items()}
            self._history.append({"step": self.step} | losses)
            self._record(self._history[-1])
        if done or self.step % options.checkpoint_every == 0:
            save_checkpoint(self._checkpoint, self._identity, self._state, Progress(self.step, self._history))

    @property
    def _state(self) -> TrainingState:
        return TrainingState({"sae": self._sae}, [self._optimizer])


def refuse_different_streams(options: Mapping[str, TrainOptions]) -> None:
    """Check that these variants, by name, can train on one stream of batches.

    Raises:
        ConfigError: two of them differ in an option that decides the batches; names both.
    """
    (first, expected), *others = options.items()
    for name, found in others:
        for key in ("seed", "batch_pairs", "device", "placement"):
            if getattr(found, key) != getattr(expected, key):
                raise ConfigError(
                    f"train.{key}: is {getattr(expected, key)!r} in {first} and {getattr(found, key)!r} in {name}; "
                    "variants that train together see the same batches, so train these one after the other"
                )


def train(trainees: Sequence[Trainee], loader: PairLoader, advance: Callable[[int, int], None]) -> float:
    """Train every dictionary to its end on one stream of batches; each becomes what it would become alone.

    Args:
        trainees: Dictionaries of any width and recipe. Those that resume further on wait for the others.
        loader: Batches as a pure function of (seed, epoch, step).
        advance: Receives (steps done, total steps) after every batch.

    Returns:
        Seconds spent waiting for batches.

    Raises:
        RunError: a loss is not finite, or a checkpoint cannot be read.
    """
    for trainee in trainees:
        trainee.resume(loader.steps_per_epoch)
    step, end = min(t.step for t in trainees), max(t.total_steps for t in trainees)
    waited = 0.0
    while step < end:
        batches = loader.batches(*divmod(step, loader.steps_per_epoch))
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            for trainee in trainees:
                if trainee.step == step < trainee.total_steps:
                    trainee.learn(batch)
            step += 1
            advance(step, end)
    return waited


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
