"""Measure a trained variant on the validation cache."""

import os
from pathlib import Path
from typing import Any

from cache import ActivationCache
from pipeline.backbone.model import Backbone
from pipeline.errors import RunError
from pipeline.interpretation.identity import describes
from pipeline.interpretation.latent_table import LATENTS_FILE, read_latents
from pipeline.metrics.changed_captions import prefer_own_captions
from pipeline.metrics.edits import edit_pictures
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.mean_codes import mean_codes
from pipeline.metrics.not_defined import NotDefined, tell_apart
from pipeline.metrics.sparse_probes import sparse_probes
from pipeline.params import Params
from pipeline.runs.metrics import write_metrics
from pipeline.sae.base import SparseAutoencoder
from pipeline.world.changed_captions import changed_captions
from stages.paths import TRAINING_SPLIT, cache_path
from stages.progress import note, progress_bar
from stages.trained_run import open_run, training_cache


def evaluate_run(params: Params, run: Path) -> None:
    """Write `metrics.json` into the folder `run`; until it is written, an old one stays as it is.

    It has a part `interpretation`, how many names of latents are right (`score_names`), if `concord interpret` has
    named the latents of this very dictionary on this cache. The part is absent from a run that was never interpreted,
    was trained again since, or whose split or concept list has no ground truth.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`; RunError also if `latents.parquet` cannot be read, a
            figure is not finite, captions cannot be changed, probes cannot be fitted, or the file cannot be written.
    """
    with open_run(run, params.backbone) as (sae, backbone, validation):
        training = training_cache(run)
        with progress_bar(f"evaluate {run.name}", "pairs") as advance:
            metrics = evaluate(sae, validation, backbone, params.evaluate, advance, training)
        if params.evaluate.changed_captions:
            figures = tell_apart(_changed_captions(params, sae, backbone, validation, training))
            reasons = metrics.get("not_defined", {}) | figures.reasons
            metrics |= figures.values | ({"not_defined": reasons} if reasons else {})
        if params.evaluate.probes:
            metrics["probes"] = _probes(params, run, sae, validation, training)
        score = _score_of_names(run / LATENTS_FILE, sae, validation)
        if score is not None:
            metrics["interpretation"] = score
        write_metrics(run, metrics, validation)


def _changed_captions(
    params: Params,
    sae: SparseAutoencoder,
    backbone: Backbone,
    validation: ActivationCache,
    training: ActivationCache | None,
) -> dict[str, Any]:
    options = params.evaluate
    changed = changed_captions(validation, params.scenes.seed, options.changed_captions)
    if not changed:
        raise RunError(
            "evaluate.changed_captions: only captions of the embedded world can be changed, and those of "
            f"{validation} are not of scenes.seed {params.scenes.seed}; set it to 0"
        )
    size, pooling = options.batch_pairs, options.concept_pooling
    means = mean_codes(sae, training, options.centring_pairs, size, pooling) if training else None
    with progress_bar("ask for captions with one fact changed", "captions") as advance:
        preferred = prefer_own_captions(sae, validation, backbone, changed, means, pooling, size, advance)
    edits = edit_pictures(sae, validation, backbone, changed, options.seed, size)
    return {"changed_captions": preferred, "edits": edits}


def _probes(
    params: Params,
    run: Path,
    sae: SparseAutoencoder,
    validation: ActivationCache,
    training: ActivationCache | None,
) -> dict[str, Any]:
    if training is None:
        raise RunError(
            f"evaluate.probes: {cache_path(TRAINING_SPLIT)} is not there or not what {run} was trained on, and probes "
            "are fitted on training pairs; encode it again (`concord encode`), or set it to false"
        )
    with progress_bar("fit probes", "pairs") as advance:
        found = sparse_probes(sae, training, validation, params.evaluate, advance)
    if isinstance(found, NotDefined):
        raise RunError(f"evaluate.probes: there are none, since {found.reason}; set it to false")
    return found


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
