"""Name a trained variant's shared latents on the validation cache."""

from pathlib import Path

import pyarrow.parquet as pq

from pipeline.interpretation import interpret
from pipeline.params import Params
from stages.progress import progress_bar
from stages.trained_run import open_run


def interpret_run(params: Params, run: Path) -> None:
    """Write `latents.parquet` into the folder `run`.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`.
    """
    sae, backbone, validation = open_run(run, params.backbone)
    with progress_bar(f"interpret {run.name}", "pairs") as advance:
        latents = interpret(sae, validation, backbone, params.interpret, advance)
    path = run / "latents.parquet"
    path.unlink(missing_ok=True)  # DVC may keep the old file under another name
    pq.write_table(latents, path)
