"""The interpreted dictionaries of a report: for each the latents that get a page, named ones first."""

import re
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
from pipeline.interpretation.latent_table import read_latents
from pipeline.interpretation.neighbours import nearest_latents
from pipeline.interpretation.sightings import Ranking, SplitSightings, units_of
from pipeline.report.evidence import Evidence, show
from pipeline.report.latents import LatentPage, specimens
from pipeline.report.options import ReportOptions
from pipeline.report.pictures import PictureShelf
from pipeline.results.run import Run
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.options import Inputs
from pipeline.sae.saving import load_sae

TABLE = "latents.parquet"

_TAKEN = {"", "images", "scripts", "style.css", "index.html", "compare.html", "report.json"}
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Dictionary:
    """An interpreted dictionary as the report shows it.

    Attributes:
        variant: the variant it belongs to.
        folder: where its pages are, relative to the report's root.
        inputs: whether it reads patches and tokens or whole pictures and captions.
        metadata: what `interpret` recorded: options, concept list, cache.
        score: names held against the truth, as `interpret` or `evaluate` recorded it; None without ground truth.
        split: the split that was interpreted, as the report calls it; None if its cache was not given.
        grid: rows and columns of the patch grid.
        latents: number of shared latents.
        fired: number of them that fire at all in the interpreted split.
        searched: (images searched, images in all) of the second split; None without it.
        with_name: number of them that have a name; those beyond the report's options have no page.
        named: pages of named latents, most hits first.
        unnamed: pages of others, most hits first.
    """

    variant: str
    folder: str
    inputs: Inputs
    metadata: Mapping[str, Any]
    score: Mapping[str, Any] | None
    split: str | None
    grid: tuple[int, int]
    latents: int
    fired: int
    searched: tuple[int, int] | None
    with_name: int
    named: tuple[LatentPage, ...]
    unnamed: tuple[LatentPage, ...]

    @property
    def gallery(self) -> str:
        """Path of its gallery relative to the report's root."""
        return f"{self.folder}/concepts.html"

    @property
    def units(self) -> tuple[str, str]:
        """What it reads of each side, in the plural."""
        return units_of(self.inputs)

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

    def specimens(self, count: int) -> list[LatentPage]:
        """At most `count` with a name that pictures and captions bear out; if there is none, others with a name."""
        return specimens(self.borne_out or self.named, count)

    @property
    def borne_out(self) -> tuple[LatentPage, ...]:
        """Pages of named latents whose name pictures and captions both bear out."""
        return tuple(page for page in self.named if page.borne_out)

    @property
    def knows_truth(self) -> bool:
        """Whether names were held against true concepts, latent by latent."""
        return any(page.right is not None for page in self.named)

    def called(self, name: str) -> tuple[LatentPage, ...]:
        """Pages of the latents with this name."""
        return tuple(page for page in self.named if page.title == name)


def read_dictionaries(
    runs: Sequence[Run], caches: Mapping[str, ActivationCache], shelf: PictureShelf, options: ReportOptions
) -> tuple[Dictionary, ...]:
    """One per interpreted run, that of `options.variant` first; writes the pictures they show.

    Raises:
        RunError: two runs would share a folder, or a run's `latents.parquet` or model cannot be read.
        DatasetError: a picture cannot be read.
    """
    interpreted = [run for run in runs if (run.folder / TABLE).exists()]
    folders = {run.name: _folder_name(run.name) for run in interpreted}
    if len({folder.casefold() for folder in folders.values()}) < len(interpreted):
        raise RunError(
            f"two of {', '.join(run.name for run in interpreted)} share a name; name each variant once"
        )
    interpreted.sort(key=lambda run: run.name != options.variant)
    return tuple(_Reader(run, folders[run.name], caches, shelf, options).read() for run in interpreted)


def _folder_name(variant: str) -> str:
    """A folder inside the report for a variant, whatever it is called, that holds nothing else."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", variant)[:_LONGEST_NAME]
    return f"variant-{plain}" if plain.startswith(".") or plain.casefold() in _TAKEN else plain


class _Reader:
    """Gathers the pages of one run's latents."""

    def __init__(
        self,
        run: Run,
        folder: str,
        caches: Mapping[str, ActivationCache],
        shelf: PictureShelf,
        options: ReportOptions,
    ) -> None:
        self._run = run
        self._folder = folder
        self._caches = caches
        self._shelf = shelf
        self._options = options
        self._sae: SparseAutoencoder = load_sae(run.folder)

    def read(self) -> Dictionary:
        run, options = self._run, self._options
        table, metadata = read_latents_of(self._sae, run.folder)
        rows, fired = _chosen(
            table, options.latents if run.name == options.variant else options.other_latents
        )
        split = interpreted_split(metadata, self._caches)
        rankings = {row["latent"]: _ranking(row, options.images) for row in rows}
        images = self._evidence(split, rankings) if split is not None else {}
        unseen, frequency, searched = self._unseen([*rankings], split)
        kinds = kinds_by_term(metadata)
        neighbours = nearest_latents(self._sae, [*rankings], options.neighbours)
        pages = [
            LatentPage(
                self._folder,
                row,
                kinds.get(row["name"]) if row["named"] else None,
                images.get(row["latent"], ()),
                unseen.get(row["latent"], ()),
                frequency[row["latent"]] if frequency else None,
                lit_captions(row["top_captions"][: options.captions]),
                neighbours[row["latent"]],
                is_right(metadata, row["latent"]),
            )
            for row in rows
        ]
        return Dictionary(
            variant=run.name,
            folder=self._folder,
            inputs=self._sae.inputs,
            metadata=metadata,
            score=run.naming or metadata.get("score"),
            split=split,
            grid=_grid(self._caches.get(split or options.ood_split)),
            latents=table.num_rows,
            fired=fired,
            searched=searched,
            with_name=pc.sum(table["named"]).as_py() or 0,
            named=tuple(page for page in pages if page.row["named"]),
            unnamed=tuple(page for page in pages if not page.row["named"]),
        )

    def _unseen(
        self, latents: list[int], interpreted: str | None
    ) -> tuple[dict[int, tuple[Evidence, ...]], list[float], tuple[int, int] | None]:
        """The latents on the second split: pictures, frequencies, (images searched, images in all)."""
        split, options = self._options.ood_split, self._options
        if not options.ood_images or split not in self._caches or split == interpreted:
            return {}, [], None
        sightings = SplitSightings(self._caches[split], self._sae)
        top = sightings.search(options.ood_images, options.ood_pairs)
        rankings = {latent: sightings.ranking(top, latent) for latent in latents}
        return self._evidence(split, rankings), top.frequency.tolist(), (top.items, sightings.images)

    def _evidence(self, split: str, rankings: Mapping[int, Ranking]) -> dict[int, tuple[Evidence, ...]]:
        cache = self._caches[split]
        found = SplitSightings(cache, self._sae).collect(rankings)
        return {
            latent: tuple(show(sighting, split, cache, self._shelf) for sighting in sightings)
            for latent, sightings in found.items()
        }


def _grid(cache: ActivationCache | None) -> tuple[int, int]:
    return cache.manifest.grid if cache is not None else (1, 1)


def read_latents_of(sae: SparseAutoencoder, run: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The run's `latents.parquet` and its metadata.

    Raises:
        RunError: it cannot be read, or it describes another dictionary than `sae`, that of an earlier training.
    """
    table, metadata = read_latents(run / TABLE)
    if metadata.get("dictionary_sha256") != dictionary_sha256(sae):
        raise RunError(
            f"{run / TABLE}: describes an earlier training; run `concord interpret {run.name}` again"
        )
    return table, metadata


def interpreted_split(metadata: Mapping[str, Any], caches: Mapping[str, ActivationCache]) -> str | None:
    """The split whose cache was interpreted; None if it is not among `caches`."""
    matching = (split for split, cache in caches.items() if cache.manifest.sha256 == metadata["cache_sha256"])
    return next(matching, None)


def is_right(metadata: Mapping[str, Any], latent: int) -> bool | None:
    """Whether a named latent's name is the true concept that it tells apart, in images and in captions alike."""
    found = (metadata.get("true_concepts") or {}).get(str(latent))
    return None if found is None else found["name"] is not None and len(set(found.values())) == 1


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
