"""Name a trained variant's shared latents on the validation cache."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.interpretation.latent_table import LATENTS_FILE, METADATA_KEY, write_latents
from pipeline.interpretation.naming import interpret
from pipeline.params import Params
from stages.progress import note, progress_bars
from stages.trained_run import open_run

_TERMS_SHOWN = 5


def interpret_run(params: Params, run: Path) -> None:
    """Write `latents.parquet` into the folder `run`; says which terms of the concept list had to be left out.

    Until it is written, an old one stays as it is.

    Raises:
        RunError, BackboneError, CacheError: as `open_run`; RunError also if the file cannot be written.
        ConfigError: the concept list or the sentence encoder cannot be used.
    """
    with open_run(run, params.backbone) as (sae, backbone, validation):
        parts = (f"encode concepts for {run.name}", "terms"), (f"interpret {run.name}", "pairs")
        with progress_bars(*parts) as (on_terms, on_pairs):
            latents = interpret(sae, validation, backbone, params.interpret, on_pairs, on_terms)
        metadata = json.loads(latents.schema.metadata[METADATA_KEY])
        _tell_left_out("terms that the backbone's tokenizer does not know", metadata["unknown_concepts"])
        repeated = [f"{term} = {same}" for term, same in metadata["repeated_concepts"].items()]
        _tell_left_out("terms that are the same tokens as an earlier one", repeated)
        write_latents(run / LATENTS_FILE, latents)


def _tell_left_out(what: str, terms: Sequence[str]) -> None:
    if terms:
        first = ", ".join(terms[:_TERMS_SHOWN]) + (", …" if len(terms) > _TERMS_SHOWN else "")
        note(f"{what}, left out: {len(terms)} ({first})")
