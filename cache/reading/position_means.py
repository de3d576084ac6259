"""Means by position over all pairs of a finished cache, read from its activations a part at a time."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64

from cache.format.position_means import PositionMeans
from cache.format.storage import StoredRows
from cache.reading.tables import CacheTables

_VALUES_AT_ONCE = 1 << 24
"""Decoded at a time: 64 MB in float32."""


def read_position_means(
    cache: CacheTables, read: Callable[[str, Int64[np.ndarray, "row"]], StoredRows]
) -> dict[str, PositionMeans]:
    """Read all tokens of a cache that are in a pair, each once, and average those of "vision" and "text" by position.

    Args:
        cache: says where they are.
        read: reads rows of an array of the cache by its name; what it raises is raised here.
    """
    manifest = cache.manifest
    images = (
        PositionMeans.of_images(read("vision/tokens", rows))
        for rows in _parts(np.unique(cache.pair_images), manifest.patches * manifest.vision_channels)
    )
    text_rows, places = _text_positions(cache)
    captions = (
        PositionMeans.of(read("text/tokens", text_rows[part]), places[part], manifest.context_length)
        for part in _parts(np.arange(len(text_rows)), manifest.text_channels)
    )
    of_none = {
        "vision": PositionMeans.empty(manifest.patches, manifest.vision_channels),
        "text": PositionMeans.empty(manifest.context_length, manifest.text_channels),
    }
    return {
        side: functools.reduce(PositionMeans.merge, parts, of_none[side])
        for side, parts in (("vision", images), ("text", captions))
    }


def _text_positions(
    cache: CacheTables,
) -> tuple[Int64[np.ndarray, "token"], Int64[np.ndarray, "token"]]:
    """Rows of `text/tokens` that are in a pair, and the position of each in its caption."""
    where = cache.pair_rows(np.arange(cache.pairs))
    rows = where.tokens
    return rows, rows - np.repeat(where.token_starts, where.token_counts)


def _parts(rows: Int64[np.ndarray, "row"], row_values: int) -> Iterator[Int64[np.ndarray, "part"]]:
    size = max(1, _VALUES_AT_ONCE // row_values)
    return (rows[start : start + size] for start in range(0, len(rows), size))
