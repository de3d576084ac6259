"""The index at the end of a shard file: where each of its chunks is. It follows from how many there are."""

import google_crc32c
import numpy as np

from cache.format.layout import CHECKSUM_BYTES, ShardedLayout

_ABSENT = 2**64 - 1
"""Offset and length in the index of a chunk that was never written."""


def shard_index(layout: ShardedLayout, chunks: int) -> bytes:
    """The index of a shard file with `chunks` chunks, one after another from its beginning."""
    stored = layout.chunk_bytes + CHECKSUM_BYTES
    index = np.full((layout.shard_chunks, 2), _ABSENT, "<u8")
    index[:chunks, 0] = np.arange(chunks, dtype=np.uint64) * np.uint64(stored)
    index[:chunks, 1] = stored
    entries = index.tobytes()
    checksum: int = google_crc32c.value(entries)
    return entries + checksum.to_bytes(CHECKSUM_BYTES, "little")


def indexed_chunks(index: bytes, layout: ShardedLayout) -> int:
    """How many chunks a shard file has, by its index, the last `layout.index_bytes` of it.

    Raises:
        ValueError: the index is damaged, or lists chunks in another order; says how.
    """
    entries, checksum = index[:-CHECKSUM_BYTES], index[-CHECKSUM_BYTES:]
    if len(index) != layout.index_bytes:
        raise ValueError("is truncated within its index")
    if google_crc32c.value(entries) != int.from_bytes(checksum, "little"):
        raise ValueError("fails the CRC32C of its index")
    chunks = int(np.count_nonzero(np.frombuffer(entries, "<u8")[::2] != _ABSENT))
    if index != shard_index(layout, chunks):
        raise ValueError("has an index that does not list its chunks one after another")
    return chunks
