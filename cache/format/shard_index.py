"""The index at the end of a shard file: where each of its chunks is. It follows from their lengths."""

import google_crc32c
import numpy as np
from jaxtyping import Int64

from cache.format.layout import CHECKSUM_BYTES, ShardedLayout

_ABSENT = 2**64 - 1
"""Offset and length in the index of a chunk that was never written."""


def shard_index(layout: ShardedLayout, offsets: Int64[np.ndarray, "chunk_and_one"]) -> bytes:
    """The index of a shard file whose i-th chunk, with its checksum, is the bytes from `offsets[i]` on."""
    index = np.full((layout.shard_chunks, 2), _ABSENT, "<u8")
    index[: len(offsets) - 1, 0] = offsets[:-1]
    index[: len(offsets) - 1, 1] = np.diff(offsets)
    entries = index.tobytes()
    checksum: int = google_crc32c.value(entries)
    return entries + checksum.to_bytes(CHECKSUM_BYTES, "little")


def chunk_offsets(index: bytes, layout: ShardedLayout) -> Int64[np.ndarray, "chunk_and_one"]:
    """Where the chunks of a shard file begin, and where the last ends, by its last `layout.index_bytes`.

    Raises:
        ValueError: the index is damaged, or lists chunks in another order or of impossible lengths; says how.
    """
    entries, checksum = index[:-CHECKSUM_BYTES], index[-CHECKSUM_BYTES:]
    if len(index) != layout.index_bytes:
        raise ValueError("is truncated within its index")
    if google_crc32c.value(entries) != int.from_bytes(checksum, "little"):
        raise ValueError("fails the CRC32C of its index")
    places = np.frombuffer(entries, "<u8").reshape(-1, 2)
    lengths = places[: np.count_nonzero(places[:, 0] != _ABSENT), 1]
    smallest = layout.largest_chunk if layout.codec == "none" else CHECKSUM_BYTES + 1
    if np.any((lengths < smallest) | (lengths > layout.largest_chunk)):
        raise ValueError("has an index with chunks of another size than theirs")
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.astype(np.int64))])
    if index != shard_index(layout, offsets):
        raise ValueError("has an index that does not list its chunks one after another")
    return offsets
