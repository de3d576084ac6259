"""The latents that get a page, with everything that stands on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cache import ActivationCache
from pipeline.interpretation import read_latents
from pipeline.report.captions import LitCaption, lit_captions
from pipeline.report.evidence import Evidence, Ranking, SplitEvidence
from pipeline.report.options import ReportOptions
from pipeline.report.pictures import PictureShelf
from pipeline.report.runs import Run
from pipeline.sae.registry import load_sae

TABLE = "latents.parquet"


@dataclass(frozen=True)
class LatentPage:
    """One latent.

    Attributes:
        row: its row of `latents.parquet`.
        page: path of its page relative to the report's root.
        images: where it fires in the interpreted split, strongest first.
        unseen: where it fires in the split of unseen combinations.
        captions: which words fire it.
    """

    row: Mapping[str, Any]
    page: str
    images: tuple[Evidence, ...]
    unseen: tuple[Evidence, ...]
    captions: tuple[LitCaption, ...]

    @property
    def title(self) -> str:
        """Its name; for one without a good name, its number."""
        return str(self.row["name"]) if self.row["named"] else f"latent {self.row['latent']}"


@dataclass(frozen=True)
class Dictionary:
    """The interpreted dictionary as the report shows it.

    Attributes:
        variant: the variant it belongs to.
        metadata: what `interpret` recorded: options, concept list, cache.
        split: the split that was interpreted, as the report calls it; None if its cache was not given.
        latents: number of shared latents.
        fired: number of them that fire at all in the interpreted split.
        named: pages of named latents, most hits first.
        unnamed: pages of others, most hits first.
    """

    variant: str
    metadata: Mapping[str, Any]
    split: str | None
    latents: int
    fired: int
    named: tuple[LatentPage, ...]
    unnamed: tuple[LatentPage, ...]

    @property
    def pages(self) -> tuple[LatentPage, ...]:
        """All pages in the order in which they follow each other."""
        return self.named + self.unnamed


def read_dictionary(
    run: Run, caches: Mapping[str, ActivationCache], shelf: PictureShelf, options: ReportOptions
) -> Dictionary:
    """Gather the pages of `run`'s latents, writing the pictures they show.

    Raises:
        RunError: `latents.parquet` or the model cannot be read.
        DatasetError: a picture cannot be read.
    """
    table, metadata = read_latents(run.folder / TABLE)
    rows, fired = _chosen(table, options.latents)
    sae = load_sae(run.folder)
    images: Mapping[int, list[Evidence]] = {}
    unseen: Mapping[int, list[Evidence]] = {}
    split = _interpreted_split(metadata, caches)
    if split is not None:
        rankings = {row["latent"]: _ranking(row, options.images) for row in rows}
        images = SplitEvidence(split, caches[split], sae, shelf).collect(rankings)
    if options.ood_images and options.ood_split in caches and options.ood_split != split:
        evidence = SplitEvidence(options.ood_split, caches[options.ood_split], sae, shelf)
        latents = [row["latent"] for row in rows]
        unseen = evidence.collect(evidence.rankings(latents, options.ood_images, options.ood_pairs))
    pages = [
        LatentPage(
            row,
            f"latents/{row['latent']:04d}.html",
            tuple(images.get(row["latent"], ())),
            tuple(unseen.get(row["latent"], ())),
            lit_captions(row["top_captions"][: options.captions]),
        )
        for row in rows
    ]
    named = tuple(page for page in pages if page.row["named"])
    unnamed = tuple(page for page in pages if not page.row["named"])
    return Dictionary(run.name, metadata, split, table.num_rows, fired, named, unnamed)


def _interpreted_split(metadata: Mapping[str, Any], caches: Mapping[str, ActivationCache]) -> str | None:
    """The split whose cache was interpreted; None if it is not among `caches`."""
    matching = (split for split, cache in caches.items() if cache.manifest.sha256 == metadata["cache_sha256"])
    return next(matching, None)


def _chosen(table: pa.Table, most: int) -> tuple[list[dict[str, Any]], int]:
    """The rows that get a page (named ones first, then most hits, then most frequent), and how many latents fire."""
    rows = [row for row in table.to_pylist() if row["vision_frequency"] or row["text_frequency"]]
    rows.sort(key=lambda row: (not row["named"], -row["hits"], -row["vision_frequency"], row["latent"]))
    return rows[:most], len(rows)


def _ranking(row: Mapping[str, Any], images: int) -> Ranking:
    return [(image["pair"], image["patch"], image["activation"]) for image in row["top_images"][:images]]
