"""For every latent: how often it fires, and the items on which it fires most.

An item is an image of patches or a caption of tokens. One pass; memory does not depend on the number of items.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cache import ActivationCache
from pipeline.sparse.codes import SparseCodes


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


def peaks(codes: SparseCodes, offsets: Int[Tensor, "item+1"], latents: int) -> Peaks:
    """Peaks over items packed one after the other: item i has elements offsets[i] up to offsets[i + 1].

    An item without elements fires nothing.
    """
    items = len(offsets) - 1
    item = torch.arange(items, device=offsets.device).repeat_interleave(offsets.diff())
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


class TopItems:
    """The items with the highest peaks of each latent, strongest first, earlier items first on ties.

    Attributes:
        activation: float32 `[latent, rank]`; 0 where fewer items than ranks fired the latent.
        item: int64 `[latent, rank]`, the caller's id of the item.
        position: int64 `[latent, rank]`, the element at which the item peaks.
        items: number of items seen.
    """

    def __init__(self, latents: int, ranks: int, device: torch.device) -> None:
        self.activation = torch.zeros(latents, ranks, device=device)
        self.item = torch.full((latents, ranks), -1, device=device)
        self.position = torch.full((latents, ranks), -1, device=device)
        self.items = 0
        self._fired = torch.zeros(latents, dtype=torch.int64, device=device)
        self._elements = 0

    def update(self, peaks: Peaks, item_ids: Int[Tensor, "item"]) -> None:
        """Take in one batch of items, in the order of the pass."""
        ranks = self.activation.shape[1]
        activation = torch.cat([self.activation, peaks.activation.T], dim=1)
        item = torch.cat([self.item, item_ids.expand(len(self.item), -1)], dim=1)
        position = torch.cat([self.position, peaks.position.T], dim=1)
        order = torch.sort(activation, dim=1, descending=True, stable=True).indices[:, :ranks]
        self.activation = activation.gather(1, order)
        self.item = item.gather(1, order)
        self.position = position.gather(1, order)
        self.items += len(item_ids)
        self._fired += peaks.fired
        self._elements += peaks.elements

    @property
    def frequency(self) -> Float[Tensor, "latent"]:
        """Share of all patches (or tokens) seen that fire each latent, float64 in [0, 1]."""
        return self._fired.double() / max(self._elements, 1)

    def ranked(self, latent: int) -> list[tuple[int, int, float]]:
        """(item, position, activation) of the items that fire `latent`, strongest first."""
        rows = zip(self.item[latent], self.position[latent], self.activation[latent], strict=True)
        return [(int(item), int(place), float(value)) for item, place, value in rows if value > 0]
