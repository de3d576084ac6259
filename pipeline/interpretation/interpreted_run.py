"""A trained run whose latents were named: its dictionary, and the table that `interpret` made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cache import ActivationCache
from pipeline.errors import ConfigError, RunError
from pipeline.interpretation.captions import lit_captions
from pipeline.interpretation.concept_list import load_concept_list
from pipeline.interpretation.identity import dictionary_sha256
from pipeline.interpretation.latent import Latent
from pipeline.interpretation.latent_table import LATENTS_FILE, read_latents
from pipeline.interpretation.sightings import Ranking
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.saving import load_sae


@dataclass(frozen=True)
class InterpretedRun:
    """What is known of the latents of a run.

    Attributes:
        sae: the run's dictionary.
        table: a row per shared latent, see `LATENT_SCHEMA`.
        image_level: a row per image-level latent; empty where the dictionary has none.
        metadata: what `interpret` recorded: options, concept list, cache, score.
    """

    sae: SparseAutoencoder
    table: pa.Table
    image_level: pa.Table
    metadata: Mapping[str, Any]

    @property
    def with_name(self) -> int:
        """Number of latents that have a name."""
        return pc.sum(self.table["named"]).as_py() or 0

    def firing(self) -> list[dict[str, Any]]:
        """List the rows of latents that fire at all on the interpreted split."""
        rows = self.table.to_pylist()
        return [row for row in rows if row["vision_frequency"] or row["text_frequency"]]

    def kinds(self) -> dict[str, str]:
        """Map terms to kinds, by the list that named the latents; empty if that is gone or was changed."""
        used = self.metadata["concept_list"]
        try:
            concepts = load_concept_list(used["name"])
        except ConfigError:
            return {}
        if concepts.sha256 != used["sha256"]:
            return {}
        return {term: concept.partition(":")[0] for term, concept in concepts.truth.items()}

    def is_right(self, latent: int) -> bool | None:
        """Tell whether a named latent's name is the true concept that it tells apart, on both sides alike."""
        found = (self.metadata.get("true_concepts") or {}).get(str(latent))
        return None if found is None else found["name"] is not None and len(set(found.values())) == 1

    def latents(self) -> dict[int, Latent]:
        """Read every shared latent that fires, by number."""
        return self._described(self.firing())

    def named_image_level(self) -> dict[int, Latent]:
        """Read every image-level latent that has a name, by number."""
        return self._described(self.image_level.filter(self.image_level["named"]).to_pylist())

    def _described(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, Latent]:
        kinds = self.kinds()
        return {
            row["latent"]: Latent(
                row,
                kinds.get(row["name"]) if row["named"] else None,
                lit_captions(row["top_captions"]),
                self.is_right(row["latent"]),
            )
            for row in rows
        }

    def describes(self, cache: ActivationCache) -> bool:
        """Tell whether `cache` is the one that was interpreted."""
        return bool(cache.manifest.sha256 == self.metadata["cache_sha256"])


def open_interpreted_run(run: Path) -> InterpretedRun:
    """Open the dictionary in the folder `run` with its table of latents.

    Raises:
        RunError: the run was not interpreted, either cannot be read, or the table describes another dictionary, that of
            an earlier training.
    """
    path = run / LATENTS_FILE
    if not path.exists():
        raise RunError(f"{path}: no such file; run `concord interpret {run.name}` first")
    sae = load_sae(run)
    table, metadata = read_latents(path)
    if metadata.get("dictionary_sha256") != dictionary_sha256(sae):
        raise RunError(f"{path}: describes an earlier training; run `concord interpret {run.name}` again")
    whole = table["confidence"].is_valid()
    return InterpretedRun(sae, table.filter(pc.invert(whole)), table.filter(whole), metadata)


def ranking_of(row: Mapping[str, Any], images: int) -> Ranking:
    """List the first `images` of a latent's strongest pictures on the interpreted split."""
    return [(image["pair"], image["patch"], image["activation"]) for image in row["top_images"][:images]]
