"""What the pages show of a latent: pictures with its heat map and peak patch, and captions with its tokens lit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float

from cache import ActivationCache
from pipeline.datasets.geometry import ResizeMode
from pipeline.interpretation.peaks import TopItems, first_pairs, image_peaks
from pipeline.report.heat import heat_image
from pipeline.report.pictures import Picture, PictureShelf
from pipeline.sae.base import SparseAutoencoder

Ranking = list[tuple[int, int, float]]
"""(pair, peak patch, activation), strongest first."""


@dataclass(frozen=True)
class PatchBox:
    """The peak patch, in percent of the picture's width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Evidence:
    """One picture on which a latent fires.

    Attributes:
        picture: the image file.
        heat: the heat map as a `data:` URI.
        peak: where the peak patch lies.
        activation: the latent's value there.
        caption: the pair's caption.
    """

    picture: Picture
    heat: str
    peak: PatchBox
    activation: float
    caption: str


class SplitEvidence:
    """Looks up pictures and heat maps of one split.

    Args:
        split: What the report calls the split.
        cache: The split's activations.
        sae: The dictionary whose latents are shown.
        shelf: Where pictures are written.
    """

    def __init__(
        self, split: str, cache: ActivationCache, sae: SparseAutoencoder, shelf: PictureShelf
    ) -> None:
        self._cache = cache
        self._sae = sae
        self._shelf = shelf
        self._resize_mode = resize_mode_of(cache)
        self._split = split

    @property
    def images(self) -> int:
        """Images of the split that are part of a pair."""
        return len(first_pairs(self._cache))

    @torch.inference_mode()
    def search(self, ranks: int, images_at_most: int) -> TopItems:
        """The images of this split that fire each latent most, among at most `images_at_most` evenly spaced ones."""
        device = next(self._sae.parameters()).device
        top = TopItems(self._sae.shared_width, ranks, device)
        pairs = first_pairs(self._cache)
        chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, images_at_most).round().astype(np.int64))]
        for batch in _read(self._cache, chosen):
            codes = self._sae.encode("vision", batch.vision_tokens.flatten(0, 1).to(device), "shared")
            top.update(image_peaks(codes, len(batch.pair), self._sae.shared_width), batch.pair.to(device))
        return top

    def collect(self, rankings: Mapping[int, Ranking]) -> dict[int, list[Evidence]]:
        """Pictures and heat maps for the ranked images of every latent.

        A heat map is the latent's own code at every patch, scaled by its strongest activation among the images shown.
        """
        strongest = {latent: ranking[0][2] for latent, ranking in rankings.items() if ranking}
        codes = self._codes(rankings)
        rows = rows_of_pairs(self._cache, sorted({pair for pair, _ in codes}))
        return {
            latent: [
                self._evidence(rows[pair], patch, activation, codes[pair, latent] / strongest[latent])
                for pair, patch, activation in ranking
            ]
            for latent, ranking in rankings.items()
        }

    @torch.inference_mode()
    def _codes(self, rankings: Mapping[int, Ranking]) -> dict[tuple[int, int], Float[np.ndarray, "patch"]]:
        """A latent's code at every patch of an image, by (pair, latent)."""
        wanted: dict[int, list[int]] = {}
        for latent, ranking in rankings.items():
            for pair, _, _ in ranking:
                wanted.setdefault(pair, []).append(latent)
        device = next(self._sae.parameters()).device
        found: dict[tuple[int, int], Float[np.ndarray, "patch"]] = {}
        for batch in _read(self._cache, np.array(sorted(wanted), dtype=np.int64)):
            for pair, tokens in zip(batch.pair.tolist(), batch.vision_tokens.to(device), strict=True):
                codes = self._sae.encode("vision", tokens, "shared")
                for latent in wanted[pair]:
                    found[pair, latent] = (codes.values * (codes.indices == latent)).sum(dim=1).cpu().numpy()
        return found

    def _evidence(
        self, row: Mapping[str, Any], patch: int, activation: float, heat: Float[np.ndarray, "patch"]
    ) -> Evidence:
        grid, size = self._cache.manifest.grid, (row["width"], row["height"])
        picture = self._shelf.place(self._split, row["file"], size, grid, self._resize_mode)
        peak = patch_box(patch, grid)
        return Evidence(picture, heat_image(heat.reshape(grid)), peak, activation, row["caption"])


def patch_box(patch: int, grid: tuple[int, int]) -> PatchBox:
    """Where a patch lies, counted along rows of the grid."""
    rows, columns = grid
    top, left = divmod(patch, columns)
    return PatchBox(100 * left / columns, 100 * top / rows, 100 / columns, 100 / rows)


def resize_mode_of(cache: ActivationCache) -> ResizeMode:
    """How the cache's backbone fits an image to its input."""
    identity: Any = cache.manifest.backbone
    mode: ResizeMode = identity["preprocessing"]["resize_mode"]
    return mode


def rows_of_pairs(cache: ActivationCache, pairs: Sequence[int]) -> dict[int, dict[str, Any]]:
    """File, size, caption and categories by pair, for these pairs only: a large split has too many to hold them all."""
    table = cache.samples.select(["pair", "file", "width", "height", "caption", "categories"])
    wanted = table.filter(pc.is_in(table["pair"], pa.array(pairs, pa.int64())))
    return {row["pair"]: row for row in wanted.to_pylist()}


def _read(cache: ActivationCache, pairs: np.ndarray, batch_pairs: int = 64) -> Iterator[Any]:
    for start in range(0, len(pairs), batch_pairs):
        yield cache.read_pairs(pairs[start : start + batch_pairs])
