"""For every latent: how often it fires, and the items on which it fires most.

An item is an image of patches or a caption of tokens. One pass; memory does not depend on the number of items.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cache import ActivationCache
from pipeline.metrics.items import TopItems
from pipeline.sparse.codes import SparseCodes, owners


def first_pairs(cache: ActivationCache) -> Int[np.ndarray, "image"]:
    """The first pair of every image that has one, int64: with several captions an image is in several pairs."""
    first: Int[np.ndarray, "image"] = np.unique(cache.pair_images, return_index=True)[1]
    return first


class Peaks(NamedTuple):
    """The strongest activation of every latent in every item.

    Attributes:
        activation: float32 `[item, latent]`; 0 where the latent does not fire.
        position: int64 `[item, latent]`, the first element that reaches it; meaningless where it does not fire.
        fired: int64 `[latent]`, number of elements (patches or tokens) that fire the latent.
        elements: number of elements of all items.
    """

    activation: Float[Tensor, "item latent"]
    position: Int[Tensor, "item latent"]
    fired: Int[Tensor, "latent"]
    elements: int


def image_peaks(codes: SparseCodes, images: int, latents: int) -> Peaks:
    """Peaks over the patches of `images` images with equally many patches each, image after image."""
    patches = len(codes.values) // max(images, 1)
    return peaks(codes, torch.arange(images + 1, device=codes.values.device) * patches, latents)


def peaks(codes: SparseCodes, offsets: Int[Tensor, " item_plus_1"], latents: int) -> Peaks:
    """Peaks over items packed one after the other: item i has elements offsets[i] up to offsets[i + 1].

    An item without elements fires nothing.
    """
    items = len(offsets) - 1
    item = owners(offsets, len(codes.values))
    position = torch.arange(len(item), device=offsets.device) - offsets[item]
    slots = (item[:, None] * latents + codes.indices).flatten()
    values = codes.values.flatten()
    activation = values.new_zeros(items * latents).scatter_reduce_(0, slots, values, reduce="amax")
    places = position[:, None].expand_as(codes.indices).flatten()
    never = torch.iinfo(torch.int64).max
    candidates = torch.where(values == activation[slots], places, never)
    first = torch.full_like(activation, never, dtype=torch.int64)
    first.scatter_reduce_(0, slots, candidates, reduce="amin")
    fired = torch.bincount(codes.indices[codes.values > 0], minlength=latents)
    return Peaks(activation.view(items, latents), first.view(items, latents), fired, len(item))


class TopPeaks(TopItems):
    """The items with the highest peaks of each latent, at which of their patches or tokens, and how often it fires.

    Attributes:
        items: number of items seen.
    """

    def __init__(self, latents: int, ranks: int, device: torch.device) -> None:
        super().__init__(latents, ranks, device)
        self.items = 0
        self._fired = torch.zeros(latents, dtype=torch.int64, device=device)
        self._elements = 0

    def add(self, peaks: Peaks, item: Int[Tensor, "item"]) -> None:
        """Take in one batch of items, in the order of the pass."""
        self.update(peaks.activation, item, peaks.position)
        self.items += len(item)
        self._fired += peaks.fired
        self._elements += peaks.elements

    @property
    def frequency(self) -> Float[Tensor, "latent"]:
        """Share of all patches (or tokens) seen that fire each latent, float64 in [0, 1]."""
        return self._fired.double() / max(self._elements, 1)
