"""Measure how well supervised probes find the true concepts: the row that no dictionary is above."""

from pathlib import Path

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.metrics.ceiling import supervised_ceiling
from pipeline.metrics.not_defined import NotDefined
from pipeline.params import Params
from pipeline.runs.seal import write_sealed
from stages.paths import MEASURED_SPLIT, TRAINING_SPLIT, cache_path


def measure_ceiling(params: Params, output: Path) -> None:
    """Fit probes on the training cache, score them on the validation cache, and write `output` as a metrics.json.

    Raises:
        RunError: the caches do not state their true concepts, or the file cannot be written.
        CacheError: a cache is missing or damaged.
    """
    training, validation = (
        ActivationCache.open(cache_path(split)) for split in (TRAINING_SPLIT, MEASURED_SPLIT)
    )
    options = params.evaluate
    found = supervised_ceiling(
        training,
        validation,
        least=options.least_positives,
        seed=options.seed,
        batch_pairs=options.batch_pairs,
    )
    if isinstance(found, NotDefined):
        raise RunError(f"no ceiling can be measured: {found.reason}")
    write_sealed(output, {"concepts": found})
