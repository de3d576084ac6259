"""Measure a trained variant on the validation cache."""

import os
from pathlib import Path

from cache import ActivationCache
from pipeline.interpretation.identity import describes
from pipeline.interpretation.latent_table import LATENTS_FILE, read_latents
from pipeline.metrics.evaluation import evaluate
from pipeline.params import Params
from pipeline.runs.metrics import write_metrics
from pipeline.sae.base import SparseAutoencoder
from stages.progress import note, progress_bar
from stages.trained_run import open_run, training_cache


def evaluate_run(params: Params, run: Path) -> None:
    """Write `metrics.json` into the folder `run`; until it is written, an old one stays as it is.

    It has a part `interpretation`, how many names of latents are right (`score_names`), if `concord interpret` has
    named the latents of this very dictionary on this cache. The part is absent from a run that was never interpreted,
    was trained again since, or whose split or concept list has no ground truth.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`; RunError also if `latents.parquet` cannot be read, a
            figure is not finite, or the file cannot be written.
    """
    with open_run(run, params.backbone) as (sae, backbone, validation):
        with progress_bar(f"evaluate {run.name}", "pairs") as advance:
            metrics = evaluate(sae, validation, backbone, params.evaluate, advance, training_cache(run))
        score = _score_of_names(run / LATENTS_FILE, sae, validation)
        if score is not None:
            metrics["interpretation"] = score
        write_metrics(run, metrics, validation)


def _score_of_names(
    path: Path, sae: SparseAutoencoder, validation: ActivationCache
) -> dict[str, object] | None:
    if not os.path.lexists(path):
        return None
    _, metadata = read_latents(path)
    if not describes(metadata, sae, validation):
        note(f"{path} is of another dictionary or cache; run `concord interpret` for the score of names")
        return None
    score: dict[str, object] | None = metadata["score"]
    return score
