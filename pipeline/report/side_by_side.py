"""The same pictures under every variant: where each one's transport plan sends each word of the caption."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cache import ActivationCache
from pipeline.backbone.spelling import Word
from pipeline.datasets.geometry import resize_mode_of
from pipeline.interpretation.latent_table import read_latents
from pipeline.interpretation.sightings import rows_of_pairs
from pipeline.interpretation.word_plans import telling_word, varied_pairs, word_plans, words_of_captions
from pipeline.report.heat import heat_image, heat_text
from pipeline.report.pictures import Picture, PictureShelf
from pipeline.results.run import Run
from pipeline.runs.model_file import MODEL_FILE
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.saving import load_sae


@dataclass(frozen=True)
class WordMap:
    """Where one variant's plan sends one word.

    Attributes:
        image: the map as a `data:` URI.
        row, column: the patch that gets most of the word.
        empty: whether no patch gets anything of it: guidance may leave a word without mass.
    """

    image: str
    row: int
    column: int
    empty: bool


@dataclass(frozen=True)
class Specimen:
    """One pair under every variant.

    Attributes:
        pair: its index in the cache.
        picture: the image file.
        words: the caption's, as the tokenizer decodes them.
        chosen: position of the word that is shown at first.
        shown: that word's map by variant.
        maps: a heat map per word and variant as `heat_text`, for the page's script.
    """

    pair: int
    picture: Picture
    words: tuple[Word, ...]
    chosen: int
    shown: Mapping[str, WordMap]
    maps: Mapping[str, tuple[str, ...]]

    @property
    def caption(self) -> str:
        """The caption as it was written."""
        return "".join((" " if word.spaced else "") + word.text for word in self.words if not word.special)

    @property
    def data(self) -> str:
        """`maps` as JSON."""
        return json.dumps(self.maps, separators=(",", ":"))


@dataclass(frozen=True)
class SideBySide:
    """The page of all variants.

    Attributes:
        variants: those that have plans, in the order of the runs.
        missing: the others, by name, and why they are not shown.
        grid: rows and columns of the patch grid.
        specimens: the pairs that are shown.
        pairs: how many pairs the split has.
        split: what the split is called.
        varied: whether they were chosen by their categories; samples need not have any.
    """

    variants: tuple[str, ...]
    missing: Mapping[str, str]
    grid: tuple[int, int]
    specimens: tuple[Specimen, ...]
    pairs: int
    split: str
    varied: bool


def compare_variants(
    runs: Sequence[Run],
    split: str,
    cache: ActivationCache,
    table: Path,
    shelf: PictureShelf,
    count: int,
) -> SideBySide:
    """Lay the plans of all trained `runs` side by side for `count` pairs of a split.

    The pairs are among those whose words `interpret` wrote down (in the captions of `table`, a `latents.parquet`), so
    that no tokenizer is needed here: together they show as many categories as possible.

    Raises:
        RunError: a model cannot be read.
        DatasetError: a picture cannot be read.
    """
    saes, missing = _dictionaries(runs)
    words = words_of_captions(read_latents(table)[0])
    rows = rows_of_pairs(cache, set(words))
    pairs = varied_pairs(rows, count) if saes else []
    plans = {variant: word_plans(sae, cache, pairs, words) for variant, sae in saes.items()}
    specimens = tuple(
        _specimen(
            cache,
            split,
            rows[pair],
            words[pair],
            {variant: columns[pair] for variant, columns in plans.items()},
            shelf,
        )
        for pair in pairs
    )
    varied = any(rows[pair]["categories"] for pair in pairs)
    return SideBySide(tuple(saes), missing, cache.manifest.grid, specimens, cache.pairs, split, varied)


def _dictionaries(runs: Sequence[Run]) -> tuple[dict[str, SparseAutoencoder], dict[str, str]]:
    saes: dict[str, SparseAutoencoder] = {}
    missing: dict[str, str] = {}
    for run in runs:
        if not (run.folder / MODEL_FILE).exists():
            missing[run.name] = "is not trained"
            continue
        sae = load_sae(run.folder)
        if sae.reader.knows_places:
            saes[run.name] = sae
        else:
            missing[run.name] = "reads one embedding of a whole picture, so its plan joins no patch to a word"
    return saes, missing


def _specimen(
    cache: ActivationCache,
    split: str,
    row: Mapping[str, Any],
    words: tuple[Word, ...],
    plans: Mapping[str, Float[np.ndarray, "word patch"]],
    shelf: PictureShelf,
) -> Specimen:
    grid = cache.manifest.grid
    picture = shelf.place(split, row["file"], (row["width"], row["height"]), grid, resize_mode_of(cache))
    chosen = telling_word(words, row["categories"] or (), next(iter(plans.values())))
    shown = {variant: _word_map(columns[chosen], grid) for variant, columns in plans.items()}
    maps = {variant: tuple(map(heat_text, columns)) for variant, columns in plans.items()}
    return Specimen(row["pair"], picture, words, chosen, shown, maps)


def _word_map(heat: Float[np.ndarray, "patch"], grid: tuple[int, int]) -> WordMap:
    row, column = divmod(int(heat.argmax()), grid[1])
    return WordMap(heat_image(heat.reshape(grid)), row, column, not heat.any())
