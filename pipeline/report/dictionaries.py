"""The interpreted dictionaries of a report: for each the latents that get a page, named ones first."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.interpretation.interpreted_run import open_interpreted_run, ranking_of
from pipeline.interpretation.latent import Latent, specimens
from pipeline.interpretation.latent_table import LATENTS_FILE
from pipeline.interpretation.neighbours import nearest_latents
from pipeline.interpretation.sightings import Ranking, SplitSightings
from pipeline.report.evidence import Evidence, show
from pipeline.report.latent_page import LatentPage
from pipeline.report.options import ReportOptions
from pipeline.report.pictures import PictureShelf
from pipeline.results.run import Run
from pipeline.runs.stability import Stability, read_stability
from pipeline.sae.options import Inputs
from pipeline.sae.reader import READERS

_TAKEN = {"", "images", "scripts", "style.css", "index.html", "compare.html", "report.json"}
_LONGEST_NAME = 100


@dataclass(frozen=True)
class DictionaryPages:
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
        image_level: pages of named image-level latents, most hits first.
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
    image_level: tuple[LatentPage, ...]
    unnamed: tuple[LatentPage, ...]

    @property
    def gallery(self) -> str:
        """Path of its gallery relative to the report's root."""
        return f"{self.folder}/concepts.html"

    @property
    def units(self) -> tuple[str, str]:
        """What it reads of each side, in the plural."""
        return READERS[self.inputs].units

    @property
    def pages(self) -> tuple[LatentPage, ...]:
        """All pages in the order in which they follow each other."""
        return self.named + self.image_level + self.unnamed

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
) -> tuple[DictionaryPages, ...]:
    """One per interpreted run, that of `options.variant` first; writes the pictures they show.

    Raises:
        RunError: two runs would share a folder, or a run's `latents.parquet` or model cannot be read.
        DatasetError: a picture cannot be read.
    """
    interpreted = [run for run in runs if (run.folder / LATENTS_FILE).exists()]
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
        self._interpreted = open_interpreted_run(run.folder)

    def read(self) -> DictionaryPages:
        run, options, interpreted = self._run, self._options, self._interpreted
        firing = list(interpreted.latents().values())
        most = options.latents if run.name == options.variant else options.other_latents
        chosen, whole = (
            _chosen(latents, most) for latents in (firing, [*interpreted.named_image_level().values()])
        )
        split = next((name for name, cache in self._caches.items() if interpreted.describes(cache)), None)
        rankings = {latent.number: ranking_of(latent.row, options.images) for latent in [*chosen, *whole]}
        images = self._evidence(split, rankings) if split is not None else {}
        numbers = [latent.number for latent in chosen]
        unseen, frequency, searched = self._unseen(numbers, split)
        stability = read_stability(run.folder)
        neighbours = nearest_latents(interpreted.sae, numbers, options.neighbours)
        pages = [
            self._page(
                latent,
                images=images.get(latent.number, ()),
                unseen=unseen.get(latent.number, ()),
                unseen_frequency=frequency[latent.number] if frequency else None,
                neighbours=neighbours[latent.number],
                found_again=_found_again(stability, latent.number),
            )
            for latent in chosen
        ]
        return DictionaryPages(
            variant=run.name,
            folder=self._folder,
            inputs=interpreted.sae.reader.inputs,
            metadata=interpreted.metadata,
            score=run.naming or interpreted.metadata.get("score"),
            split=split,
            grid=_grid(self._caches.get(split or options.ood_split)),
            latents=interpreted.table.num_rows,
            fired=len(firing),
            searched=searched,
            with_name=interpreted.with_name,
            named=tuple(page for page in pages if page.row["named"]),
            image_level=tuple(self._page(latent, images=images.get(latent.number, ())) for latent in whole),
            unnamed=tuple(page for page in pages if not page.row["named"]),
        )

    def _page(self, latent: Latent, images: tuple[Evidence, ...], **seen: Any) -> LatentPage:
        captions = latent.captions[: self._options.captions]
        return LatentPage(latent.row, latent.kind, captions, latent.right, self._folder, images, **seen)

    def _unseen(
        self, latents: list[int], interpreted: str | None
    ) -> tuple[dict[int, tuple[Evidence, ...]], list[float], tuple[int, int] | None]:
        """The latents on the second split: pictures, frequencies, (images searched, images in all)."""
        split, options = self._options.ood_split, self._options
        if not options.ood_images or split not in self._caches or split == interpreted:
            return {}, [], None
        sightings = SplitSightings(self._caches[split], self._interpreted.sae)
        top = sightings.search(options.ood_images, options.ood_pairs)
        rankings = {latent: sightings.ranking(top, latent) for latent in latents}
        return self._evidence(split, rankings), top.frequency.tolist(), (top.items, sightings.images)

    def _evidence(self, split: str, rankings: Mapping[int, Ranking]) -> dict[int, tuple[Evidence, ...]]:
        cache = self._caches[split]
        found = SplitSightings(cache, self._interpreted.sae).collect(rankings)
        return {
            latent: tuple(show(sighting, split, cache, self._shelf) for sighting in sightings)
            for latent, sightings in found.items()
        }


def _found_again(stability: Stability | None, latent: int) -> tuple[int, int] | None:
    share = stability.found[latent] if stability is not None else None
    return None if stability is None or share is None else (round(share * stability.others), stability.others)


def _grid(cache: ActivationCache | None) -> tuple[int, int]:
    return cache.manifest.grid if cache is not None else (1, 1)


def _chosen(latents: Sequence[Latent], most: int) -> list[Latent]:
    """The latents that get a page: named ones first, then most hits, then most frequent."""

    def order(latent: Latent) -> tuple[bool, int, float, int]:
        row = latent.row
        return not row["named"], -row["hits"], -row["vision_frequency"], latent.number

    return sorted(latents, key=order)[:most]
