"""Measure how much of a variant other seeds find again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.metrics.not_defined import tell_apart
from pipeline.metrics.stability import concepts_found, firing_frequencies, seed_stability
from pipeline.runs.config import finished_identity, training_of
from pipeline.runs.identity import refuse_differences
from pipeline.runs.stability import STABILITY_FILE, write_stability
from pipeline.sae.saving import load_sae
from stages.paths import MEASURED_SPLIT, cache_path
from stages.progress import progress_bar

_BATCH_PAIRS = 64


def measure_stability(runs: Sequence[Path], output: Path | None = None) -> None:
    """Write how many latents of each of `runs` the others find, into `output`, by default the first one's folder.

    Raises:
        RunError: there is one run; two have the same seed, or differ in anything else; one is missing or damaged; or
            the file cannot be written.
        CacheError: the validation cache is missing, damaged, or was written by another backbone.
    """
    refuse_unlike(runs)
    saes = [load_sae(run) for run in runs]
    cache = ActivationCache.open(cache_path(MEASURED_SPLIT), backbone=training_of(runs[0])["backbone"])
    frequencies = []
    for run, sae in zip(runs, saes, strict=True):
        with progress_bar(f"fire {run.name}", "pairs") as advance:
            frequencies.append(firing_frequencies(sae, cache, _BATCH_PAIRS, advance))
    figures, found = seed_stability(saes, frequencies), concepts_found(saes, frequencies)
    write_stability(output or runs[0] / STABILITY_FILE, runs, *tell_apart(figures), found)


def refuse_unlike(runs: Sequence[Path]) -> None:
    """Check that the runs are one recipe from seeds of their own: equal starts agree, whatever is learnt from them."""
    if len(runs) < 2:
        raise RunError(f"{runs[0]}: is one run; name another of the same variant, trained from another seed")
    seeds: dict[int, Path] = {}
    for run in runs:
        recipe, first = _recipe(run), _recipe(runs[0])
        seed = recipe["train"].pop("seed", None)
        first["train"].pop("seed", None)
        if seed is None:
            raise RunError(
                f"{run}: does not say which seed it was trained from; compare runs of `concord train`"
            )
        if seed in seeds:
            raise RunError(
                f"{run}: was trained from the seed {seed}, as {seeds[seed]} was; train it from another (--seed)"
            )
        seeds[seed] = run
        refuse_differences(
            f"{run}: is of another recipe than {runs[0]}", recipe, first, "compare runs of one variant"
        )


def _recipe(run: Path) -> dict[str, Any]:
    return {"train": {}, **training_of(run), "sae": finished_identity(run)["sae"]}
