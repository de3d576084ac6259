"""Measure a trained variant on the validation cache."""

import json
from pathlib import Path

from cache import ActivationCache
from pipeline.backbone import load_backbone
from pipeline.metrics.evaluation import evaluate
from pipeline.params import Params
from pipeline.sae.registry import load_sae
from stages.paths import cache_path
from stages.progress import progress_bar


def evaluate_run(params: Params, run: Path) -> None:
    """Write `metrics.json` into the folder `run`.

    Raises:
        RunError: the run is not trained.
        CacheError: the validation cache is missing, damaged, or was written by another backbone.
    """
    sae = load_sae(run)
    backbone = load_backbone(params.backbone)
    cache = ActivationCache.open(cache_path("val"), backbone=backbone.identity)
    with progress_bar(f"evaluate {run.name}", "pairs") as advance:
        metrics = evaluate(sae, cache, backbone, params.evaluate, advance)
    (run / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
