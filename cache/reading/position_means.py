"""Means by position over all pairs of a cache: as they are stored, or read from its activations a part at a time."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64

from cache.errors import CacheFormatError
from cache.files.location import Location
from cache.format.layout import POSITION_MEANS_FILES
from cache.format.manifest import Manifest
from cache.format.position_means import PositionMeans
from cache.format.root import Completion
from cache.format.storage import StoredRows
from cache.reading.tables import CacheTables, read_values

_LARGEST_MEAN = float(np.finfo(np.float32).max)
_VALUES_AT_ONCE = 1 << 19
"""Decoded at a time: 2 MB in float32."""


def stored_position_means(
    location: Location, manifest: Manifest, completion: Completion
) -> dict[str, PositionMeans] | None:
    """Read the means by position that a cache has in its statistics; None if it was written without.

    Raises:
        CacheFormatError: they are no means of so many tokens.
        CacheCorruptError: a file is missing or damaged.
        CacheAccessError: it cannot be read.
    """
    if POSITION_MEANS_FILES[0] not in completion.files:
        return None
    found = {}
    for side, empty in PositionMeans.none_of(manifest).items():
        group = f"statistics/{side}"
        count, mean = (
            read_values(location / name, completion.files.get(name), values.size, values.dtype).reshape(
                values.shape
            )
            for name, values in (
                (f"{group}/position_count/c.0", empty.count),
                (f"{group}/position_mean/c.0.0", empty.mean),
            )
        )
        if np.any(count < 0) or not np.all(np.abs(mean) <= _LARGEST_MEAN):
            raise CacheFormatError(
                f"{location / group}: holds no means by position; restore it or encode again"
            )
        found[side] = PositionMeans(count, mean)
    return found


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
    of_none = PositionMeans.none_of(manifest)
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
