"""What of the study is left to do, and how long that takes on a machine like the one that did the rest."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from pipeline.study.options import StudyOptions, Trial

Seconds = Mapping[Trial, float]


def hours_left(left: Sequence[Trial], seconds: Seconds) -> float | None:
    """Estimate how many hours the trainings `left` take, one after the other; None where none was measured yet.

    Each counts as the measured ones of its recipe and control take on average, in proportion to their budgets; without
    one, as those of its control; without one of these, as all. Of a recipe that is slower than those measured so far it
    is too little.
    """
    if not seconds:
        return None
    return sum(_expected(trial, seconds) for trial in left) / 3600


def left_by_setting(study: StudyOptions, done: Seconds) -> dict[str, list[Trial]]:
    """The trainings that are not among those `done`, by what they are for."""
    groups: dict[str, list[Trial]] = {}
    for trial in study.trials():
        if trial not in done:
            setting = trial.control or f"budget {trial.budget}, sparsity {trial.sparsity}"
            groups.setdefault(setting.replace("_", " "), []).append(trial)
    return groups


def _expected(trial: Trial, seconds: Seconds) -> float:
    same_control = {one: value for one, value in seconds.items() if one.control == trial.control}
    same_recipe = {one: value for one, value in same_control.items() if one.variant == trial.variant}
    known = same_recipe or same_control or seconds
    return fmean(value * trial.budget / one.budget for one, value in known.items())
