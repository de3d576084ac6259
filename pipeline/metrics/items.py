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
        pair: int64 [latent, rank], the first pair with the item; -1 where there is none.
    """

    def __init__(self, latents: int, ranks: int) -> None:
        self.activation = torch.zeros(latents, ranks)
        self.pair = torch.full((latents, ranks), -1)

    def update(self, activation: Float[Tensor, "item latent"], pair: Int[Tensor, "item"]) -> None:
        """Take in some items that were not seen before, in the order of the pass."""
        ranks = self.activation.shape[1]
        candidates = torch.cat([self.activation.to(activation.device), activation.T], dim=1)
        pairs = torch.cat([self.pair.to(pair.device), pair.expand(len(self.pair), -1)], dim=1)
        values, order = torch.sort(candidates, dim=1, descending=True, stable=True)
        self.activation, self.pair = values[:, :ranks], pairs.gather(1, order[:, :ranks])

    @property
    def alive(self) -> Bool[Tensor, "latent"]:
        """Whether any item fired the latent."""
        return self.activation[:, 0] > 0
