"""Tokens in eight bits: every channel is normalised over its shard, then every token is scaled to -127 ... 127.

Normalising by channel first keeps the few outlier channels of a transformer from taking the eight bits of all others;
the scale of a token keeps an outlier token from taking those of all tokens.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float16, Float32, Int8
from numpy.typing import NDArray

STEPS = 127
"""Largest quantised value; -128 is not used."""

_SMALLEST_SCALE = np.float16(2**-24)
"""The smallest positive float16: a token that equals the mean is not a token of zeros."""

_BLOCK_VALUES = 1 << 20
"""Values normalised at a time (8 MB in float64), so that a shard is never doubled in memory."""


class QuantisedTokens(NamedTuple):
    """The tokens of one side of one shard; each field is an array of the cache of that name.

    Attributes:
        tokens: int8, the shape of the tokens.
        token_scale: float16, one per token; 0 marks a token of zeros.
        channel_mean: float32 [1, channel].
        channel_std: float32 [1, channel].
    """

    tokens: Int8[np.ndarray, "*token channel"]
    token_scale: Float16[np.ndarray, "*token"]
    channel_mean: Float32[np.ndarray, "1 channel"]
    channel_std: Float32[np.ndarray, "1 channel"]


def quantise(tokens: Float[np.ndarray, "*token channel"]) -> QuantisedTokens:
    """Quantise the tokens of one side of one shard, finite and within +-2**126.

    Tokens of zeros (skipped images) are kept as such and do not count for mean and standard deviation. No other token
    overflows: none of N tokens is farther than sqrt(N) standard deviations from the mean. The error of a value is at
    most half of `token_scale * channel_std`, beside the rounding of float32.
    """
    rows = tokens.reshape(-1, tokens.shape[-1])
    mean, std = _calibrated(rows)
    values, scale = np.empty(rows.shape, np.int8), np.empty(len(rows), np.float16)
    for part in _parts(rows):
        values[part], scale[part] = _quantised(rows[part].astype(np.float32), mean, std)
    return QuantisedTokens(
        values.reshape(tokens.shape), scale.reshape(tokens.shape[:-1]), mean[None], std[None]
    )


def _calibrated(rows: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of every channel over the tokens that are not all zeros, from float64 sums.

    Sums run down the rows, in their order, so they do not depend on how wide the processor's vectors are.
    """
    count, total = 0, np.zeros(rows.shape[1])
    for block in _nonzero_blocks(rows):
        count += len(block)
        total += block.sum(axis=0)
    mean = total / max(1, count)
    squared_deviation = np.zeros(rows.shape[1])
    for block in _nonzero_blocks(rows):
        squared_deviation += np.square(block - mean).sum(axis=0)
    return mean.astype(np.float32), np.sqrt(squared_deviation / max(1, count)).astype(np.float32)


def _nonzero_blocks(rows: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    for part in _parts(rows):
        block = rows[part].astype(np.float32)
        yield block[block.any(axis=1)].astype(np.float64)


def _parts(rows: NDArray[np.floating]) -> Iterator[slice]:
    size = max(1, _BLOCK_VALUES // rows.shape[1])
    return (slice(start, start + size) for start in range(0, len(rows), size))


def _quantised(
    block: NDArray[np.float32], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    zeros = ~block.any(axis=1)
    normalised = (block - mean) / np.where(std > 0, std, np.float32(np.inf))
    normalised[zeros] = 0
    scale = _scale(np.abs(normalised).max(axis=1))
    values = np.rint(normalised / scale.astype(np.float32)[:, None]).astype(np.int8)
    scale[zeros] = 0
    return values, scale


def _scale(largest: NDArray[np.float32]) -> NDArray[np.float16]:
    """The smallest positive float16 numbers of which `STEPS` reach `largest`."""
    exact = largest / np.float32(STEPS)
    scale = exact.astype(np.float16)
    scale = np.where(scale < exact, np.nextafter(scale, np.float16(np.inf)), scale)
    return np.maximum(scale, _SMALLEST_SCALE)
