"""Name a trained variant's shared latents on the validation cache."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.interpretation import interpret
from pipeline.interpretation.latent_table import METADATA_KEY
from pipeline.params import Params
from stages.progress import note, progress_bar
from stages.trained_run import open_run

_TERMS_SHOWN = 5


def interpret_run(params: Params, run: Path) -> None:
    """Write `latents.parquet` into the folder `run`; says which terms of the concept list had to be left out.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`.
        ConfigError: the concept list or the sentence encoder cannot be used.
    """
    sae, backbone, validation = open_run(run, params.backbone)
    with progress_bar(f"interpret {run.name}", "pairs") as advance:
        latents = interpret(sae, validation, backbone, params.interpret, advance)
    unknown = json.loads(latents.schema.metadata[METADATA_KEY])["unknown_concepts"]
    if unknown:
        first = ", ".join(unknown[:_TERMS_SHOWN]) + (", …" if len(unknown) > _TERMS_SHOWN else "")
        note(f"terms that the backbone's tokenizer does not know, left out: {len(unknown)} ({first})")
    path = run / "latents.parquet"
    path.unlink(missing_ok=True)  # DVC may keep the old file under another name
    pq.write_table(latents, path)
