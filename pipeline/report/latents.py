"""The latents that get a page, with everything that stands on it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cache import ActivationCache
from pipeline.errors import ConfigError
from pipeline.interpretation import read_latents
from pipeline.interpretation.concept_list import load_concept_list
from pipeline.report.captions import LitCaption, keywords, lit_captions
from pipeline.report.evidence import Evidence, Ranking, SplitEvidence
from pipeline.report.neighbours import Neighbour, nearest_latents
from pipeline.report.options import ReportOptions
from pipeline.report.pictures import PictureShelf
from pipeline.report.runs import Run
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.registry import load_sae

TABLE = "latents.parquet"


@dataclass(frozen=True)
class LatentPage:
    """One latent.

    Attributes:
        row: its row of `latents.parquet`.
        kind: what sort of concept its name is ("noun"), where the concept list says so.
        images: where it fires in the interpreted split, strongest first.
        unseen: where it fires in the split of unseen combinations.
        unseen_frequency: share of that split's patches that fire it; None without the split.
        captions: which words fire it.
        neighbours: the latents that resemble it most.
    """

    row: Mapping[str, Any]
    kind: str | None
    images: tuple[Evidence, ...]
    unseen: tuple[Evidence, ...]
    unseen_frequency: float | None
    captions: tuple[LitCaption, ...]
    neighbours: tuple[Neighbour, ...]

    @property
    def number(self) -> int:
        """Column of the dictionary."""
        return int(self.row["latent"])

    @property
    def page(self) -> str:
        """Path of its page relative to the report's root."""
        return f"latents/{self.number:04d}.html"

    @property
    def title(self) -> str:
        """Its name; for one without a good name, its number."""
        return str(self.row["name"]) if self.row["named"] else f"latent {self.number}"

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms of the cluster that names it."""
        return (
            tuple(term["term"] for term in self.row["clusters"][0]["terms"]) if self.row["clusters"] else ()
        )

    @property
    def words(self) -> tuple[tuple[str, int], ...]:
        """Tokens at which its captions peak, with how often."""
        return keywords(self.captions)

    @property
    def agreement(self) -> float:
        """Share of its captions that peak at a term of its name's cluster: do words and pictures agree on it?"""
        terms = {term.lower() for term in self.terms}
        return sum(caption.keyword in terms for caption in self.captions) / max(len(self.captions), 1)


@dataclass(frozen=True)
class Dictionary:
    """The interpreted dictionary as the report shows it.

    Attributes:
        variant: the variant it belongs to.
        metadata: what `interpret` recorded: options, concept list, cache.
        split: the split that was interpreted, as the report calls it; None if its cache was not given.
        latents: number of shared latents.
        fired: number of them that fire at all in the interpreted split.
        searched: (images searched, images in all) of the split of unseen combinations; None without it.
        named: pages of named latents, most hits first.
        unnamed: pages of others, most hits first.
    """

    variant: str
    metadata: Mapping[str, Any]
    split: str | None
    latents: int
    fired: int
    searched: tuple[int, int] | None
    named: tuple[LatentPage, ...]
    unnamed: tuple[LatentPage, ...]

    @property
    def pages(self) -> tuple[LatentPage, ...]:
        """All pages in the order in which they follow each other."""
        return self.named + self.unnamed

    @property
    def by_number(self) -> Mapping[int, LatentPage]:
        """Pages by latent."""
        return {page.number: page for page in self.pages}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of concept among the names, in alphabetical order."""
        return tuple(sorted({page.kind for page in self.named if page.kind}))

    def specimens(self, count: int) -> tuple[LatentPage, ...]:
        """The named latents on which pictures and captions agree best, of as many kinds as there are."""
        turns: Counter[str | None] = Counter()
        ranked: list[tuple[bool, int, int, LatentPage]] = []
        for place, page in enumerate(sorted(self.named, key=lambda page: -page.agreement)):
            ranked.append((page.agreement < 0.5, turns[page.kind], place, page))
            turns[page.kind] += 1
        return tuple(page for *_, page in sorted(ranked, key=lambda entry: entry[:3])[:count])


class _Unseen:
    """The same latents on the split of unseen combinations."""

    def __init__(self, evidence: SplitEvidence, latents: list[int], options: ReportOptions) -> None:
        top = evidence.search(options.ood_images, options.ood_pairs)
        self.images = evidence.collect({latent: top.ranked(latent) for latent in latents})
        self.frequency: list[float] = top.frequency.tolist()
        self.searched = (top.items, evidence.images)


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
    latents = [row["latent"] for row in rows]
    sae = load_sae(run.folder)
    split = _interpreted_split(metadata, caches)
    images: Mapping[int, list[Evidence]] = {}
    if split is not None:
        rankings = {row["latent"]: _ranking(row, options.images) for row in rows}
        images = SplitEvidence(split, caches[split], sae, shelf).collect(rankings)
    unseen = _unseen(latents, split, caches, sae, shelf, options)
    kinds, neighbours = kinds_by_term(metadata), nearest_latents(sae, latents, options.neighbours)
    pages = [
        LatentPage(
            row,
            kinds.get(row["name"]) if row["named"] else None,
            tuple(images.get(row["latent"], ())),
            tuple(unseen.images.get(row["latent"], ())) if unseen else (),
            unseen.frequency[row["latent"]] if unseen else None,
            lit_captions(row["top_captions"][: options.captions]),
            neighbours[row["latent"]],
        )
        for row in rows
    ]
    named = tuple(page for page in pages if page.row["named"])
    unnamed = tuple(page for page in pages if not page.row["named"])
    searched = unseen.searched if unseen else None
    return Dictionary(run.name, metadata, split, table.num_rows, fired, searched, named, unnamed)


def _interpreted_split(metadata: Mapping[str, Any], caches: Mapping[str, ActivationCache]) -> str | None:
    """The split whose cache was interpreted; None if it is not among `caches`."""
    matching = (split for split, cache in caches.items() if cache.manifest.sha256 == metadata["cache_sha256"])
    return next(matching, None)


def _unseen(
    latents: list[int],
    interpreted: str | None,
    caches: Mapping[str, ActivationCache],
    sae: SparseAutoencoder,
    shelf: PictureShelf,
    options: ReportOptions,
) -> _Unseen | None:
    split = options.ood_split
    if not options.ood_images or split not in caches or split == interpreted:
        return None
    return _Unseen(SplitEvidence(split, caches[split], sae, shelf), latents, options)


def kinds_by_term(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Kind by term, from the concept list that named the latents; empty if that list is gone or was changed."""
    try:
        concepts = load_concept_list(metadata["concept_list"]["name"])
    except ConfigError:
        return {}
    if concepts.sha256 != metadata["concept_list"]["sha256"]:
        return {}
    return {term: concept.partition(":")[0] for term, concept in concepts.truth.items()}


def _chosen(table: pa.Table, most: int) -> tuple[list[dict[str, Any]], int]:
    """The rows that get a page (named ones first, then most hits, then most frequent), and how many latents fire."""
    rows = [row for row in table.to_pylist() if row["vision_frequency"] or row["text_frequency"]]
    rows.sort(key=lambda row: (not row["named"], -row["hits"], -row["vision_frequency"], row["latent"]))
    return rows[:most], len(rows)


def _ranking(row: Mapping[str, Any], images: int) -> Ranking:
    return [(image["pair"], image["patch"], image["activation"]) for image in row["top_images"][:images]]
