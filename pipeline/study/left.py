"""What of the study is left to do, and how long that takes on a machine like the one that did the rest."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from pipeline.study.measurement import Seconds
from pipeline.study.options import StudyOptions, Trial


class Left(NamedTuple):
    """Trainings that are left to do.

    Attributes:
        architecture: of their dictionaries.
        setting: budget and sparsity, or the control.
        trainings: how many.
        hours: how long they take, one after the other; None where nothing like them is measured yet.
    """

    architecture: str
    setting: str
    trainings: int
    hours: float | None


def what_is_left(
    study: StudyOptions, seconds: Mapping[Trial, Seconds], architectures: Mapping[str, str]
) -> list[Left]:
    """List the trainings that are left by architecture and setting, with the hours that they are expected to take.

    Args:
        study: what is asked for.
        seconds: how long the measured trainings took.
        architectures: of every candidate, by its name.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in study.trials():
        if trial not in seconds:
            groups.setdefault((architectures[trial.variant], _setting(trial)), []).append(trial)
    return [
        Left(*names, len(trials), hours_left(trials, seconds, architectures))
        for names, trials in sorted(groups.items())
    ]


def hours_left(
    left: Sequence[Trial], seconds: Mapping[Trial, Seconds], architectures: Mapping[str, str]
) -> float | None:
    """Estimate how many hours the trainings `left` take, one after the other.

    Each counts as the measured ones of its recipe do on average, its training in proportion to the budgets; where none
    of its recipe is measured, as those of its architecture. Those of the same control come first.

    Returns:
        None where of one of them not even the architecture is measured: other recipes say nothing of it.
    """
    expected = [_expected(trial, seconds, architectures) for trial in left]
    known = [one for one in expected if one is not None]
    return sum(known) / 3600 if len(known) == len(expected) else None


def _setting(trial: Trial) -> str:
    return (trial.control or f"budget {trial.budget}, sparsity {trial.sparsity}").replace("_", " ")


def _expected(
    trial: Trial, seconds: Mapping[Trial, Seconds], architectures: Mapping[str, str]
) -> float | None:
    alike = [one for one in seconds if architectures.get(one.variant) == architectures[trial.variant]]
    same_recipe = [one for one in alike if one.variant == trial.variant]
    for group in (same_recipe, alike):
        known = [one for one in group if one.control == trial.control] or group
        if known:
            took = [(one.budget, seconds[one]) for one in known]
            return fmean(
                each.training * trial.budget / budget + each.naming + each.measuring for budget, each in took
            )
    return None
