"""Where a dictionary's latents fire in the pictures of one split: how strongly, and in which patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from cache import ActivationCache
from pipeline.interpretation.peaks import TopPeaks, first_pairs, image_peaks
from pipeline.sae.base import SparseAutoencoder

Ranking = list[tuple[int, int | None, float]]
"""(pair, peak patch, activation), strongest first; no patch where whole pictures were read."""

CROP = 3
"""Patches along each side of the part of a picture that is shown closer."""

_BATCH_PAIRS = 64


class Window(NamedTuple):
    """Some patches of a grid: the first row and column, and how many of each."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, eq=False)
class Sighting:
    """One picture on which a latent fires.

    Attributes:
        row: its pair: file, width, height, caption, categories.
        activation: the latent's largest value in it.
        patch: where that is, counted along rows of the grid; None for a dictionary that reads whole pictures.
        heat: float32 [row, column], the latent's value in every patch as a share of the strongest picture's largest
            one; None without patches.
    """

    row: Mapping[str, Any]
    activation: float
    patch: int | None
    heat: Float[np.ndarray, "row column"] | None


class SplitSightings:
    """Looks up where latents fire in one split.

    Args:
        cache: The split's activations.
        sae: The dictionary whose latents are shown.
    """

    def __init__(self, cache: ActivationCache, sae: SparseAutoencoder) -> None:
        self._cache = cache
        self._sae = sae
        self._device = next(sae.parameters()).device

    @property
    def images(self) -> int:
        """Images of the split that are part of a pair."""
        return len(first_pairs(self._cache))

    @property
    def units(self) -> tuple[str, str]:
        """What the dictionary reads of each side, in the plural."""
        return self._sae.reader.units

    @property
    def whole(self) -> bool:
        """Whether the dictionary reads whole pictures and knows no places in them."""
        return not self._sae.reader.knows_places

    @torch.inference_mode()
    def search(self, ranks: int, images_at_most: int) -> TopPeaks:
        """The images of this split that fire each latent most, among at most `images_at_most` evenly spaced ones.

        Use `ranking` to read one latent's.
        """
        top = TopPeaks(self._sae.shared_width, ranks, self._device)
        pairs = first_pairs(self._cache)
        chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, images_at_most).round().astype(np.int64))]
        for batch in self._cache.iterate(_BATCH_PAIRS, chosen):
            rows = self._sae.reader.pairs(batch).rows("vision").to(self._device)
            codes = self._sae.encode("vision", rows, "shared")
            peaks = image_peaks(codes, len(batch.pair), self._sae.shared_width)
            top.add(peaks, batch.pair.to(self._device))
        return top

    def ranking(self, top: TopPeaks, latent: int) -> Ranking:
        """One latent's images from a `search`; without patches where the dictionary reads whole pictures."""
        return [(pair, None if self.whole else patch, value) for pair, patch, value in top.ranked(latent)]

    def collect(self, rankings: Mapping[int, Ranking]) -> dict[int, list[Sighting]]:
        """The ranked images of every latent, with its heat maps where it was ranked by patches."""
        placed = {
            latent: [pair for pair, patch, _ in ranks if patch is not None]
            for latent, ranks in rankings.items()
        }
        maps = self.heat_maps({latent: pairs for latent, pairs in placed.items() if pairs})
        rows = rows_of_pairs(self._cache, {pair for ranks in rankings.values() for pair, *_ in ranks})
        found: dict[int, list[Sighting]] = {}
        for latent, ranks in rankings.items():
            strongest = max((activation for *_, activation in ranks), default=1.0)
            found[latent] = [
                Sighting(rows[pair], activation, patch, maps[latent][pair] / strongest)
                if patch is not None
                else Sighting(rows[pair], activation, None, None)
                for pair, patch, activation in ranks
            ]
        return found

    @torch.inference_mode()
    def heat_maps(
        self, wanted: Mapping[int, Sequence[int]]
    ) -> dict[int, dict[int, Float[np.ndarray, "row column"]]]:
        """The activation of each of these latents in every patch of the first image of each of its pairs.

        Empty for a dictionary that reads whole pictures.
        """
        if self.whole:
            return {}
        latents: dict[int, list[int]] = {}
        for latent, pairs in wanted.items():
            for pair in pairs:
                latents.setdefault(pair, []).append(latent)
        found: dict[int, dict[int, Float[np.ndarray, "row column"]]] = {latent: {} for latent in wanted}
        for batch in self._cache.iterate(_BATCH_PAIRS, np.array(sorted(latents), dtype=np.int64)):
            pictures = self._sae.reader.pairs(batch).vision.to(self._device)
            for pair, tokens in zip(batch.pair.tolist(), pictures, strict=True):
                codes = self._sae.encode("vision", tokens, "shared")
                for latent in latents[pair]:
                    heat = (codes.values * (codes.indices == latent)).sum(dim=1).cpu().numpy()
                    found[latent][pair] = heat.reshape(self._cache.manifest.grid)
        return found


def crop_around(row: int, column: int, grid: tuple[int, int]) -> Window:
    """`CROP` by `CROP` patches with a patch in their middle, moved inwards at the borders of the grid."""
    rows, columns = (min(CROP, count) for count in grid)
    top = min(max(row - CROP // 2, 0), grid[0] - rows)
    left = min(max(column - CROP // 2, 0), grid[1] - columns)
    return Window(top, left, rows, columns)


def rows_of_pairs(cache: ActivationCache, pairs: set[int]) -> dict[int, dict[str, Any]]:
    """File, size, caption and categories by pair, for these pairs only: a large split has too many to hold them all."""
    table = cache.read_pair_samples(["pair", "file", "width", "height", "caption", "categories"])
    return {row["pair"]: row for row in table.take(pa.array(sorted(pairs), pa.int64())).to_pylist()}
