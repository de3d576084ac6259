"""Exact means of the stored tokens of one side at every position, mergeable over shards."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from cache.format.manifest import Manifest
from cache.format.storage import StoredRows


@dataclass(frozen=True, eq=False)
class PositionMeans:
    """What the tokens of one side are on average where they stand: a patch in its grid, a token in its caption.

    Attributes:
        count: number of tokens that were seen at each position.
        mean: their mean; 0 at a position without tokens.
    """

    count: Int64[np.ndarray, "position"]
    mean: Float64[np.ndarray, "position channel"]

    @classmethod
    def empty(cls, positions: int, channels: int) -> Self:
        """Means of no token at all, the neutral element of `merge`."""
        return cls(np.zeros(positions, np.int64), np.zeros((positions, channels)))

    @classmethod
    def none_of(cls, manifest: Manifest) -> dict[str, Self]:
        """Means of no token of "vision" and "text", as wide as a cache of this manifest has them."""
        return {
            "vision": cls.empty(manifest.patches, manifest.vision_channels),
            "text": cls.empty(manifest.context_length, manifest.text_channels),
        }

    @classmethod
    def of(cls, rows: StoredRows, position: Int64[np.ndarray, "row"], positions: int) -> Self:
        """Means, computed in float64, of the tokens that `rows` [row, channel] decode to, row i at `position[i]`."""
        where = torch.from_numpy(position)
        total = torch.zeros(positions, rows.values.shape[-1], dtype=torch.float64)
        total.index_add_(0, where, rows.decoded().double())
        return cls._of_totals(torch.bincount(where, minlength=positions).numpy(), total.numpy())

    @classmethod
    def of_images(cls, rows: StoredRows) -> Self:
        """Means, computed in float64, of the patches that `rows` [image, patch, channel] decode to."""
        images, patches, _ = rows.values.shape
        total = rows.decoded().sum(dim=0, dtype=torch.float64)
        return cls._of_totals(np.full(patches, images, np.int64), total.numpy())

    @classmethod
    def _of_totals(
        cls, count: Int64[np.ndarray, "position"], total: Float64[np.ndarray, "position channel"]
    ) -> Self:
        return cls(count, total / np.maximum(1, count)[:, None])

    def merge(self, other: "PositionMeans") -> Self:
        """Means of both sets of tokens together."""
        count = self.count + other.count
        share = other.count / np.maximum(1, count)
        return type(self)(count, self.mean + (other.mean - self.mean) * share[:, None])

    def between(self, centre: Float64[np.ndarray, "channel"]) -> Float64[np.ndarray, "channel"]:
        """Sum up over all tokens the squared distance of their position's mean from `centre`, for every channel.

        About the mean of all tokens, this is the part of `SideStatistics.squared_deviation` that the position alone
        explains.
        """
        between: NDArray[np.float64] = np.einsum("p,pc->c", self.count, (self.mean - centre) ** 2)
        return between
