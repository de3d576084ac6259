"""The items that pairs are made of: each image once, each wording of a caption once; and who fires a latent most."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cache import ActivationCache
from pipeline.sae.sides import Side


class Items(NamedTuple):
    """Which item each pair shows and says, as numbers that are equal exactly where the items are.

    Attributes:
        of_side: int64 [pair] per side; an image is itself however many captions it has, a caption is its text, so
            that one wording of two images is one item.
    """

    of_side: Mapping[Side, Int[np.ndarray, "pair"]]

    def first(self, side: Side) -> Bool[np.ndarray, "pair"]:
        """Whether a pair is the first with its item."""
        items = self.of_side[side]
        first = np.zeros(len(items), dtype=bool)
        first[np.unique(items, return_index=True)[1]] = True
        return first


def read_items(cache: ActivationCache) -> Items:
    """The items of every pair of `cache`."""
    read = cache.read_pair_samples(["caption"])
    captions: pa.DictionaryArray = read["caption"].combine_chunks().dictionary_encode()
    return Items({"vision": cache.pair_images, "text": captions.indices.to_numpy().astype(np.int64)})


class TopItems:
    """The items that activate each latent most, strongest first, earlier items first on ties.

    One pass in bounded memory: [latent, rank] however many items there are.

    Attributes:
        activation: float32 [latent, rank]; 0 where fewer items than ranks fired the latent.
        item: int64 [latent, rank], the caller's number of the item; -1 where there is none.
        position: int64 [latent, rank], where in the item that is; -1 where it was not told.
    """

    def __init__(self, latents: int, ranks: int, device: torch.device | None = None) -> None:
        self.activation = torch.zeros(latents, ranks, device=device)
        self.item = torch.full((latents, ranks), -1, device=device)
        self.position = torch.full((latents, ranks), -1, device=device)

    def update(
        self,
        activation: Float[Tensor, "item latent"],
        item: Int[Tensor, "item"],
        position: Int[Tensor, "item latent"] | None = None,
    ) -> None:
        """Take in some items that were not seen before, in the order of the pass."""
        latents, ranks = self.activation.shape
        places = item.new_full((latents, len(item)), -1) if position is None else position.T
        candidates = torch.cat([self.activation.to(activation.device), activation.T], dim=1)
        order = torch.sort(candidates, dim=1, descending=True, stable=True).indices[:, :ranks]
        self.activation = candidates.gather(1, order)
        self.item = _joined(self.item, item.expand(latents, -1), order)
        self.position = _joined(self.position, places, order)

    @property
    def alive(self) -> Bool[Tensor, "latent"]:
        """Whether any item fired the latent."""
        return self.activation[:, 0] > 0

    def ranked(self, latent: int) -> list[tuple[int, int, float]]:
        """List (item, position, activation) of the items that fire `latent`, strongest first."""
        rows = zip(self.item[latent], self.position[latent], self.activation[latent], strict=True)
        return [(int(item), int(place), float(value)) for item, place, value in rows if value > 0]


def _joined(
    kept: Int[Tensor, "latent rank"], new: Int[Tensor, "latent item"], order: Int[Tensor, "latent rank"]
) -> Int[Tensor, "latent rank"]:
    return torch.cat([kept.to(new.device), new], dim=1).gather(1, order)
