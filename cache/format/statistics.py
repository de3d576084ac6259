"""Exact moments and norm quantiles of the stored activations of one side, mergeable over shards."""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from cache.format.storage import StoredRows

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

_BLOCK_VALUES = 1 << 19
"""Values converted to float64 at a time: 4 MB. With fewer, threads would wait for each other more often."""

_CANCELLED = 1e-4
"""Where a variance is a smaller part of the mean square, it is not taken from the difference of the two."""

_MANTISSA_BITS_DROPPED = 14
"""A norm's bin is its float32 bit pattern without the last 14 bits: 512 bins for each power of two."""


@dataclass(frozen=True, eq=False)
class SideStatistics:
    """What is known exactly about the valid tokens of one side, as stored.

    Moments follow Chan, Golub and LeVeque (1979): count, mean and sum of squared deviations of parts merge to
    those of the whole. Norms are counted in bins 2**-9 wide in relative terms, so that quantiles merge exactly.

    Attributes:
        count: number of tokens.
        mean: float64 [channel].
        squared_deviation: float64 [channel], the sum over tokens of `(x - mean) ** 2`.
        norm_bins: int64 [bin], ascending codes of the occupied bins of the tokens' Euclidean norms.
        norm_counts: int64 [bin], tokens in each of them.
        overflow: number of stored values, pooled embeddings included, clipped to the storage dtype's range.
    """

    count: int
    mean: Float[np.ndarray, "channel"]
    squared_deviation: Float[np.ndarray, "channel"]
    norm_bins: Int[np.ndarray, "bin"]
    norm_counts: Int[np.ndarray, "bin"]
    overflow: int

    @classmethod
    def empty(cls, channels: int) -> Self:
        """Statistics of no token at all, the neutral element of `merge`."""
        zeros, none = np.zeros(channels), np.zeros(0, np.int64)
        return cls(0, zeros, zeros, none, none, 0)

    @classmethod
    def of(cls, rows: StoredRows, overflow: int = 0) -> Self:
        """Statistics, computed in float64, of the tokens that `rows` [row, ..., channel] decode to."""
        *_, channels = rows.values.shape
        if not len(rows.values):
            return replace(cls.empty(channels), overflow=overflow)
        blocks = list(_blocks_moments(rows))
        counts = np.array([block.tokens for block in blocks])
        means = np.array([block.mean for block in blocks])
        mean = np.einsum("b,bc->c", counts, means) / counts.sum()
        between = np.einsum("b,bc->c", counts, (means - mean) ** 2)
        squared_deviation = np.sum([block.squared_deviation for block in blocks], axis=0) + between
        norms = np.concatenate([block.norms for block in blocks])
        bins, norm_counts = np.unique(_norm_bins(norms), return_counts=True)
        return cls(int(counts.sum()), mean, squared_deviation, bins, norm_counts.astype(np.int64), overflow)

    def merge(self, other: "SideStatistics") -> Self:
        """Statistics of both sets of tokens together."""
        count = self.count + other.count
        share = other.count / count if count else 0.0
        delta = other.mean - self.mean
        bins, position = np.unique(np.concatenate([self.norm_bins, other.norm_bins]), return_inverse=True)
        counts = np.zeros(len(bins), np.int64)
        np.add.at(counts, position, np.concatenate([self.norm_counts, other.norm_counts]))
        return type(self)(
            count,
            self.mean + delta * share,
            self.squared_deviation + other.squared_deviation + delta**2 * (self.count * share),
            bins,
            counts,
            self.overflow + other.overflow,
        )

    @property
    def variance(self) -> Float[np.ndarray, "channel"]:
        """Population variance (divided by `count`) of every channel, float64."""
        return self.squared_deviation / max(1, self.count)

    @property
    def norm_quantiles(self) -> dict[float, float]:
        """Quantiles of the tokens' Euclidean norms at `QUANTILES`, within 0.1% of the exact order statistic.

        Quantile q is the norm of rank `floor(q * (count - 1))`, zero-based; there are none without tokens.
        """
        if not self.count:
            return {}
        ranks = np.array([int(quantile * (self.count - 1)) for quantile in QUANTILES])
        found = np.searchsorted(np.cumsum(self.norm_counts), ranks, side="right")
        return dict(zip(QUANTILES, _bin_centres(self.norm_bins[found]).tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values that `from_json` reads back exactly."""
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "squared_deviation": self.squared_deviation.tolist(),
            "norm_bins": self.norm_bins.tolist(),
            "norm_counts": self.norm_counts.tolist(),
            "overflow": self.overflow,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            values["count"],
            np.array(values["mean"], np.float64),
            np.array(values["squared_deviation"], np.float64),
            np.array(values["norm_bins"], np.int64),
            np.array(values["norm_counts"], np.int64),
            values["overflow"],
        )


def merge_all(parts: Iterable[SideStatistics]) -> SideStatistics:
    """The statistics of all parts together, merged in the given order; there is at least one."""
    return functools.reduce(SideStatistics.merge, parts)


class _BlockMoments(NamedTuple):
    tokens: int
    mean: NDArray[np.float64]
    squared_deviation: NDArray[np.float64]
    norms: NDArray[np.float64]


def _blocks_moments(rows: StoredRows) -> Iterator[_BlockMoments]:
    """Moments of a few rows at a time, in memory that is used again: getting new memory takes longer than the sums."""
    count, *shape, channels = rows.values.shape
    size = min(count, max(1, _BLOCK_VALUES // math.prod([*shape, channels])))
    decoded = torch.empty(size, *shape, channels)
    exact = torch.empty_like(decoded, dtype=torch.float64)
    for start in range(0, count, size):
        block = rows.take(slice(start, start + size))
        part = slice(len(block.values))
        exact[part].copy_(block.decoded(decoded[part]))
        yield _moments(exact[part].view(-1, channels))


def _moments(tokens: Float64[Tensor, "token channel"]) -> _BlockMoments:
    """Moments of `tokens`, which are overwritten.

    No sum here depends on the number of threads, as that of a matrix product would.
    """
    norms = torch.linalg.vector_norm(tokens, dim=1)
    mean = tokens.sum(0).numpy() / len(tokens)
    values = tokens.numpy()
    squares = np.einsum("tc,tc->c", values, values)
    squared_deviation = squares - len(values) * mean**2
    if np.any(squared_deviation < _CANCELLED * squares):
        values -= mean
        squared_deviation = np.einsum("tc,tc->c", values, values)
    return _BlockMoments(len(values), mean, squared_deviation, norms.numpy())


def _norm_bins(norms: NDArray[np.float64]) -> NDArray[np.int64]:
    largest = float(np.finfo(np.float32).max)
    bits = np.minimum(norms, largest).astype(np.float32).view(np.uint32)
    return (bits >> _MANTISSA_BITS_DROPPED).astype(np.int64)


def _bin_centres(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    half = 1 << (_MANTISSA_BITS_DROPPED - 1)
    bits = (bins.astype(np.uint32) << _MANTISSA_BITS_DROPPED) | half
    centres = bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(bins == 0, 0.0, centres)
