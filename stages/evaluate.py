"""Measure a trained variant on the validation cache."""

import json
from pathlib import Path

from pipeline.metrics.evaluation import evaluate
from pipeline.params import Params
from stages.progress import progress_bar
from stages.trained_run import open_run


def evaluate_run(params: Params, run: Path) -> None:
    """Write `metrics.json` into the folder `run`.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`.
    """
    sae, backbone, validation = open_run(run, params.backbone)
    with progress_bar(f"evaluate {run.name}", "pairs") as advance:
        metrics = evaluate(sae, validation, backbone, params.evaluate, advance)
    path = run / "metrics.json"
    path.unlink(missing_ok=True)  # DVC may keep the old file under another name
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
