"""The trainings of the study, each from the training cache to its figures."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.errors import ConfigError, RunError
from pipeline.params import Params
from pipeline.runs.software import software
from pipeline.study.measurement import Seconds, measurement_of, write_measurement
from pipeline.study.options import StudyOptions, Trial
from stages.evaluate import evaluate_run
from stages.interpret import interpret_run
from stages.measured_trial import measurement_as_asked
from stages.paths import STUDY_MEASURED, STUDY_PARAMS, STUDY_RUNS
from stages.terminal import Terminal
from stages.train import train_variants
from stages.trial import options_of


def repeat_candidate(params: Params, study: StudyOptions, variant: str) -> None:
    """Do the trainings that the study asks for of one candidate; those that are measured as it asks are left alone.

    The options decide, not the commit: after a change of the code, delete those files of `study/measured` that it
    concerns.

    Raises:
        ConfigError: the variant is no candidate of the study.
        RunError, BackboneError, CacheError: as of the stages `train`, `interpret` and `evaluate`.
    """
    asked = [trial for trial in study.trials() if trial.variant == variant]
    if not asked:
        raise ConfigError(
            f"{variant}: is no candidate of {STUDY_PARAMS}; it has {', '.join(study.candidates)}"
        )
    left = [trial for trial in asked if not _is_measured(trial, params, study)]
    Terminal().print(f"{variant}: {len(asked) - len(left)} of {len(asked)} trainings are measured")
    for trial in left:
        repeat_variant(params, study, trial)


def repeat_variant(params: Params, study: StudyOptions, trial: Trial) -> Path:
    """Train, name and measure in a folder of `study/runs`; what that gave is a file of `study/measured`, too.

    An interrupted training goes on; a run of other options makes way.

    Returns:
        The file, which is all that the page of the study reads.

    Raises:
        ConfigError: there is no such variant.
        RunError, BackboneError, CacheError: as of the stages `train`, `interpret` and `evaluate`.
    """
    run, options = STUDY_RUNS / trial.folder, options_of(trial, params, study)
    measured = params.model_copy(update={"evaluate": options.evaluate})
    seconds = Seconds(
        training=_seconds(
            lambda: train_variants({trial.variant: options}, {trial.variant: run}, replace=True)
        ),
        naming=_seconds(lambda: interpret_run(params, run)),
        measuring=_seconds(lambda: evaluate_run(measured, run)),
    )
    file = STUDY_MEASURED / trial.file
    measurement = measurement_of(run, options.decisive(), seconds, software(), torch.get_num_threads())
    write_measurement(file, measurement)
    return file


def _is_measured(trial: Trial, params: Params, study: StudyOptions) -> bool:
    """Whether there is a sound measurement of this training with these options."""
    try:
        return measurement_as_asked(trial, params, study) is not None
    except RunError:
        return False


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 1)
