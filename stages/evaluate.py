"""Measure a trained variant on the validation cache."""

from pathlib import Path

from cache import ActivationCache
from pipeline.interpretation import read_latents
from pipeline.interpretation.identity import describes
from pipeline.json_text import write_json
from pipeline.metrics.evaluation import evaluate
from pipeline.params import Params
from pipeline.run_files import replace_file
from pipeline.sae.base import SparseAutoencoder
from stages.progress import note, progress_bar
from stages.trained_run import open_run


def evaluate_run(params: Params, run: Path) -> None:
    """Write `metrics.json` into the folder `run`.

    It has a part `interpretation`, how many names of latents are right (`score_names`), if `concord interpret` has
    named the latents of this very dictionary on this cache. The part is absent from a run that was never interpreted,
    was trained again since, or whose split or concept list has no ground truth.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`; RunError also if `latents.parquet` cannot be read.
    """
    sae, backbone, validation = open_run(run, params.backbone)
    with progress_bar(f"evaluate {run.name}", "pairs") as advance:
        metrics = evaluate(sae, validation, backbone, params.evaluate, advance)
    score = _score_of_names(run / "latents.parquet", sae, validation)
    if score is not None:
        metrics["interpretation"] = score
    path = run / "metrics.json"
    replace_file(path, write_json(metrics, path))


def _score_of_names(
    path: Path, sae: SparseAutoencoder, validation: ActivationCache
) -> dict[str, object] | None:
    if not path.is_file():
        return None
    _, metadata = read_latents(path)
    if not describes(metadata, sae, validation):
        note(f"{path} is of another dictionary or cache; run `concord interpret` for the score of names")
        return None
    score: dict[str, object] | None = metadata["score"]
    return score
