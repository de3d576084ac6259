"""One training of the study, from the training cache to its figures."""

import time
from pathlib import Path

from pipeline.params import Params
from pipeline.runs.seal import write_sealed
from pipeline.study.options import Trial
from stages.evaluate import evaluate_run
from stages.interpret import interpret_run
from stages.paths import STUDY_RUNS
from stages.train import train_variants
from stages.trial import SECONDS_FILE, recipe_of


def repeat_variant(params: Params, trial: Trial) -> Path:
    """Train, name and measure; the run's folder also says in `seconds.json` how long that took.

    An interrupted training goes on; a run of other options makes way.

    Raises:
        ConfigError: there is no such variant.
        RunError, BackboneError, CacheError: as of the stages `train`, `interpret` and `evaluate`.
    """
    run = STUDY_RUNS / trial.folder
    started = time.perf_counter()
    train_variants({trial.variant: recipe_of(trial, params)}, {trial.variant: run}, replace=True)
    interpret_run(params, run)
    evaluate_run(params, run)
    write_sealed(run / SECONDS_FILE, {"seconds": round(time.perf_counter() - started, 1)})
    return run
