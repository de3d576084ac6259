"""The one training loop: batches from a cache in, trained dictionaries out, resumable at any step."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cache import PairBatch, PairLoader
from pipeline.errors import ConfigError, RunError
from pipeline.progress import Advance
from pipeline.runs.checkpoint import LossRecord, Progress, TrainingState, load_checkpoint, save_checkpoint
from pipeline.sae.base import SparseAutoencoder
from pipeline.training.interruption import HeldSignals
from pipeline.training.options import TrainOptions
from pipeline.training.replay import CudaGraphs, ReplayedStep, replay_reason
from pipeline.training.step import TrainingStep

_DIVERGED = "lower train.learning_rate or train.weight_decay"
_NEVER_FINITE = "nothing is learned yet: lower the weights of the losses in sae, or raise sae.epsilon"


def resolve_device(name: str, key: str = "train.device") -> torch.device:
    """Find the device that `name` stands for; `auto` is CUDA where there is one, else the CPU.

    Args:
        name: `auto`, or a torch device.
        key: The option that says so, for the message.

    Raises:
        RunError: the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        value = torch.zeros(1, device=name)
        value.item()  # of the device `meta` nothing can be read
        return value.device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{key}: {name!r} cannot be used ({reason}); use `auto` or `cpu`") from error


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
        checkpoint: Path | None,
        identity: Mapping[str, Any],
        record: Callable[[LossRecord], None],
        match: Callable[[], None] = lambda: None,
    ) -> None:
        """Train `sae` in place.

        Args:
            sae: An initialised dictionary on its device.
            options: See TrainOptions.
            checkpoint: File that holds the run's state while it is unfinished; None keeps it nowhere.
            identity: Plain JSON, everything that decides the result (options, cache); guards the resume.
            record: Receives every record of losses, those before a resume included, each with its `step`.
            match: Matches the sides of `sae`, which its options may ask for in the middle of training.
        """
        self.options = options
        self.step = self.total_steps = self._matched_at = self._kept = 0
        self._match = match
        self._begin(sae)
        self._checkpoint = checkpoint
        self._identity = identity
        self._history: list[LossRecord] = []
        self._record = record

    def resume(self, steps_per_epoch: int) -> None:
        """Go on from the checkpoint if there is one, else from the start.

        Raises:
            RunError: the checkpoint cannot be read, is damaged, or is of another identity.
        """
        self.total_steps = self.options.epochs * steps_per_epoch
        matching = self._step.sae.options.matching
        separate_epochs = (matching.separate_epochs or 0) if matching else 0
        self._matched_at = min(separate_epochs * steps_per_epoch, self.total_steps)
        if self._checkpoint is not None:
            self.step, self._history = load_checkpoint(self._checkpoint, self._identity, self._state)
        self._kept = self.step
        self._step.sae.apart = self.step < self._matched_at
        for entry in self._history:
            self._record(entry)

    def learn(self, batch: PairBatch) -> None:
        """Take one step, and keep what is due after it: a record, a checkpoint.

        Raises:
            RunError: the loss is not finite.
        """
        options = self.options
        factor = learning_rate_factor(*self._place_in_phase(), options.warmup_steps)
        self._step.set_learning_rate(options.learning_rate * factor)
        terms = self._learn(self._step.sae.learned_from(batch))
        if not torch.isfinite(terms["total"]):
            pairs = ", ".join(map(str, batch.pair[:8].tolist()))
            remedy = _DIVERGED if self.step else _NEVER_FINITE
            remedy += f", and delete {self._checkpoint}" if self._kept else ""
            raise RunError(f"the loss is not finite at step {self.step} (pairs {pairs}, ...); {remedy}")
        self.step += 1
        if self.step == self._matched_at:
            self._join()
        done = self.step == self.total_steps
        if done or self.step % options.record_every == 0:
            losses = {name: float(term) for name, term in terms.items()}
            self._history.append({"step": self.step} | losses)
            self._record(self._history[-1])
        if done or self.step % options.checkpoint_every == 0:
            self.keep()

    def keep(self) -> None:
        """Write a checkpoint of the step reached, if there is none of it yet.

        Raises:
            RunError: it cannot be written; the one before it is still there.
        """
        if self._checkpoint is not None and self.step > self._kept:
            save_checkpoint(self._checkpoint, self._identity, self._state, Progress(self.step, self._history))
            self._kept = self.step

    def _begin(self, sae: SparseAutoencoder) -> None:
        """Begin a phase of training, with an optimiser that knows nothing yet."""
        self._step = TrainingStep(sae, self.options)
        device = next(sae.parameters()).device
        self._learn = self._step if replay_reason(device) else ReplayedStep(self._step, CudaGraphs())

    def _join(self) -> None:
        """Match the sides that learned apart, and begin the phase in which they learn together."""
        sae = self._step.sae
        self._match()
        sae.apart = False
        self._begin(sae)

    def _place_in_phase(self) -> tuple[int, int]:
        """The next step of the phase that it belongs to, and the phase's steps: each has a schedule of its own."""
        if self.step < self._matched_at:
            return self.step, self._matched_at
        return self.step - self._matched_at, self.total_steps - self._matched_at

    @property
    def _state(self) -> TrainingState:
        held = self._step.held
        modules = {"sae": self._step.sae} | ({} if held is None else {"held": held})
        return TrainingState(modules, [self._step.optimizer])


def refuse_different_streams(options: Mapping[str, TrainOptions]) -> None:
    """Check that these variants, by name, can train on one stream of batches.

    Raises:
        ConfigError: two of them differ in an option that decides the batches; names both.
    """
    (first, expected), *others = options.items()
    for name, found in others:
        for key in ("seed", "batch_pairs", "pairs", "device", "placement"):
            if getattr(found, key) != getattr(expected, key):
                raise ConfigError(
                    f"train.{key}: is {getattr(expected, key)!r} in {first} and {getattr(found, key)!r} in {name}; "
                    "variants that train together see the same batches, so train these one after the other"
                )


def train(trainees: Sequence[Trainee], loader: PairLoader, advance: Advance) -> float:
    """Train every dictionary to its end on one stream of batches; each becomes what it would become alone.

    Ctrl-C and SIGTERM wait for the end of the step that is being taken and for a checkpoint of it, see `HeldSignals`.

    Args:
        trainees: Dictionaries of any width and recipe. Those that resume further on wait for the others.
        loader: Batches as a pure function of (seed, epoch, step).
        advance: Receives (steps done, total steps) after every batch.

    Returns:
        Seconds spent waiting for batches.

    Raises:
        RunError: a loss is not finite, or a checkpoint cannot be read or written.
    """
    for trainee in trainees:
        trainee.resume(loader.steps_per_epoch)
    step, end = min(t.step for t in trainees), max(t.total_steps for t in trainees)
    waited = 0.0
    with HeldSignals() as signals:
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
                if signals.held is not None:
                    for trainee in trainees:
                        trainee.keep()
                    signals.deliver()
    return waited
