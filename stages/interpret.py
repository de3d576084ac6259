"""Name a trained variant's shared latents on the validation cache."""

from pathlib import Path

import pyarrow.parquet as pq

from cache import ActivationCache
from pipeline.backbone import load_backbone
from pipeline.interpretation import interpret
from pipeline.params import Params
from pipeline.sae.registry import load_sae
from stages.paths import cache_path
from stages.progress import progress_bar


def interpret_run(params: Params, run: Path) -> None:
    """Write `latents.parquet` into the folder `run`.

    Raises:
        RunError: the run is not trained.
        CacheError: the validation cache is missing, damaged, or was written by another backbone.
    """
    sae = load_sae(run)
    backbone = load_backbone(params.backbone)
    cache = ActivationCache.open(cache_path("val"), backbone=backbone.identity)
    with progress_bar(f"interpret {run.name}", "pairs") as advance:
        latents = interpret(sae, cache, backbone, params.interpret, advance)
    pq.write_table(latents, run / "latents.parquet")
