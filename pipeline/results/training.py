"""How long each run was trained, and whether it was done: what every other figure of it rests on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from pipeline.results.run import Run, Series

FEWEST_STEPS = 100
"""A run of fewer steps is hardly trained, whatever its options are."""

_FEWEST_RECORDS = 20


@dataclass(frozen=True)
class TrainingSummary:
    """What the curves and the options of one run say.

    Attributes:
        variant: the run's name.
        steps: optimiser steps; None where the run has no curve of its loss.
        warmup_asked: steps of warm-up in its options; None where the run does not say.
        losses: mean loss of the first and of the last tenth of its records; None of a single record.
        falling: whether the loss still fell at the end by more than its own noise; None where that cannot be told.
    """

    variant: str
    steps: int | None
    warmup_asked: int | None = None
    losses: tuple[float, float] | None = None
    falling: bool | None = None

    @property
    def warmup(self) -> int | None:
        """Steps in which the learning rate rose: what was asked for, at most a tenth of the run."""
        if self.steps is None or self.warmup_asked is None:
            return None
        return min(self.warmup_asked, self.steps // 10)

    @property
    def hardly_trained(self) -> bool:
        """Whether so few steps were taken that no figure of the run says much about its recipe."""
        return self.steps is not None and self.steps < max(FEWEST_STEPS, (self.warmup_asked or 0) + 1)


def trainings(runs: Sequence[Run]) -> tuple[TrainingSummary, ...]:
    """One for every run that holds anything."""
    return tuple(_training(run) for run in runs if run.curves or run.metrics)


def _training(run: Run) -> TrainingSummary:
    curve = tuple(point for point in run.curves.get("total", ()) if all(map(math.isfinite, point)))
    if not curve:
        return TrainingSummary(run.name, None)
    tenth = max(1, len(curve) // 10)
    first, last = (fmean(value for _, value in part) for part in (curve[:tenth], curve[-tenth:]))
    losses = (first, last) if len(curve) > 1 else None
    asked = run.train.get("warmup_steps")
    warmup = asked if isinstance(asked, int) else None
    return TrainingSummary(run.name, int(curve[-1][0]), warmup, losses, _falling(curve))


def _falling(curve: Series) -> bool | None:
    """Compare the last tenth of the records with the tenth before: lower by two standard errors, and by 1 % of all."""
    if len(curve) < _FEWEST_RECORDS:
        return None
    tenth = len(curve) // 10
    first, before, last = (
        [value for _, value in part] for part in (curve[:tenth], curve[-2 * tenth : -tenth], curve[-tenth:])
    )
    fell = fmean(before) - fmean(last)
    return fell > 2 * _error(before, last) and fell > 0.01 * (fmean(first) - fmean(last))


def _error(*parts: Sequence[float]) -> float:
    """Standard error of the difference of the parts' means."""
    return math.sqrt(sum(variance(part) / len(part) for part in parts)) if len(parts[0]) > 1 else 0.0
