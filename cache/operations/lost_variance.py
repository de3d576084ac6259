"""What a cache lost of the values that it was made from: sums over all of two caches, as Dask arrays.

Dask arrays are natural for such sums, of values on a grid and in whatever order. They are not where files are hashed
(verification), where captions of different lengths are gathered (rewriting, exporting), or where statistics are merged
in the order of the shards, so that they come out the same: these are the tasks of `cache.operations.tasks`.
"""

import functools
from typing import NamedTuple

import dask.array as da
import numpy as np
from dask.delayed import delayed
from jaxtyping import Float64, Int

from cache.reading.reader import ActivationCache

_BLOCK_VALUES = 1 << 22
"""Values of a block: 32 MB in float64. Dask has a few of them in memory for each of its workers."""


class LostVariance(NamedTuple):
    """The fraction of the variance of one side's tokens that is lost.

    Attributes:
        all: over all channels.
        worst: in the channel that lost most.
    """

    all: float
    worst: float


def lost_variance(cache: ActivationCache, original: ActivationCache) -> dict[str, LostVariance]:
    """Compare the tokens of two caches of the same pairs, by side.

    Args:
        cache: whose tokens differ.
        original: from which they differ; tokens count as in its statistics.
    """
    result = {}
    for side in ("vision", "text"):
        ours, theirs = (_tokens(one, side) for one in (cache, original))
        squares = (ours - theirs) ** 2
        error = squares.sum(axis=tuple(range(squares.ndim - 1))).compute()
        total = original.statistics[side].squared_deviation
        varies = total > 0
        worst = np.max(error[varies] / total[varies], initial=0.0)
        result[side] = LostVariance(float(error.sum() / (total.sum() or 1.0)), float(worst))
    return result


def _tokens(cache: ActivationCache, side: str) -> da.Array:
    """The decoded tokens of one side that are in a pair, each once."""
    where = cache.pair_rows(np.arange(cache.pairs))
    rows = np.unique(where.images) if side == "vision" else where.tokens
    widths = (
        (cache.manifest.patches, cache.manifest.vision_channels)
        if side == "vision"
        else (cache.manifest.text_channels,)
    )
    block = max(1, _BLOCK_VALUES // int(np.prod(widths)))
    read = delayed(functools.partial(_decoded, cache, f"{side}/tokens"), pure=False, traverse=False)
    blocks = [
        da.from_delayed(read(part), (len(part), *widths), np.float64)  # type: ignore[no-untyped-call]
        for part in np.split(rows, range(block, len(rows), block))
    ]
    tokens: da.Array = da.concatenate(blocks)  # type: ignore[no-untyped-call]
    return tokens


def _decoded(
    cache: ActivationCache, name: str, rows: Int[np.ndarray, "row"]
) -> Float64[np.ndarray, "row ..."]:
    decoded: Float64[np.ndarray, "row ..."] = cache.read_stored(name, rows).decoded().double().numpy()
    return decoded
