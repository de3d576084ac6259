"""One training of the study, from the training cache to its figures."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.params import Params
from pipeline.runs.software import software
from pipeline.study.measurement import Seconds, measurement_of, write_measurement
from pipeline.study.options import StudyOptions, Trial
from stages.evaluate import evaluate_run
from stages.interpret import interpret_run
from stages.paths import STUDY_MEASURED, STUDY_RUNS
from stages.train import train_variants
from stages.trial import options_of


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


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 1)
