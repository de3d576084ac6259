"""Measure how well the latents of two trainings of one recipe match where both read the same side."""

from pathlib import Path

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.same_side import same_side_scores
from pipeline.params import Params
from pipeline.runs.config import training_of
from pipeline.runs.model_file import model_seal
from pipeline.runs.seal import write_sealed
from pipeline.sae.saving import load_sae
from stages.paths import MEASURED_SPLIT, TRAINING_SPLIT, cache_path
from stages.progress import progress_bar
from stages.stability import refuse_unlike
from stages.trained_run import training_cache


def measure_same_side(params: Params, runs: tuple[Path, Path], output: Path) -> None:
    """Match the latents of two runs on training pairs, score them on the validation cache, and write `output`.

    It has a part for either side, each as a metrics.json.

    Raises:
        RunError: the runs have the same seed, or differ in anything else; one is missing or damaged; the training cache
            is not there or another; the caches do not state their true concepts; or the file cannot be written.
        CacheError: a cache is missing or damaged, or the validation cache was written by another backbone.
    """
    refuse_unlike(runs)
    training = training_cache(runs[0])
    if training is None:
        raise RunError(
            f"{cache_path(TRAINING_SPLIT)}: is not there or not what {runs[0]} was trained on, and latents are matched "
            "on training pairs; encode it again (`concord encode`)"
        )
    validation = ActivationCache.open(cache_path(MEASURED_SPLIT), backbone=training_of(runs[0])["backbone"])
    first, second = map(load_sae, runs)
    with progress_bar("match two trainings", "pairs") as advance:
        found = same_side_scores((first, second), training, validation, params.evaluate, advance)
    if isinstance(found, NotDefined):
        raise RunError(f"nothing can be measured: {found.reason}")
    matched = [{"run": str(run), "model_blake3": model_seal(run)} for run in runs]
    write_sealed(output, {side: {"concepts": figures} for side, figures in found.items()} | {"runs": matched})
