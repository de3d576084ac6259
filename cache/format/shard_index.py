"""The index at the end of a shard file: where each of its chunks is."""

from collections.abc import Sequence

import google_crc32c
import numpy as np

from cache.format.layout import CHECKSUM_BYTES, ShardedLayout

ABSENT = 2**64 - 1
"""Offset and length in the index of a chunk that was never written."""

Offsets = Sequence[int]
"""Offset of each chunk; a `range` if the chunks in use lie one after another, without those that are absent."""


def chunk_offsets(index: bytes, layout: ShardedLayout) -> Offsets:
    """Read the index, the last `layout.index_bytes` of a shard file.

    Raises:
        ValueError: the index is damaged; says how.
    """
    entries, checksum = index[:-CHECKSUM_BYTES], index[-CHECKSUM_BYTES:]
    if len(index) != layout.index_bytes:
        raise ValueError("truncated within its index")
    if google_crc32c.value(entries) != int.from_bytes(checksum, "little"):
        raise ValueError("its index fails its CRC32C")
    offsets, lengths = np.frombuffer(entries, "<u8").reshape(-1, 2).T
    stored = layout.chunk_bytes + CHECKSUM_BYTES
    if not np.isin(lengths, (ABSENT, stored)).all():
        raise ValueError("its index has chunks of an unexpected length")
    used = int(np.count_nonzero(offsets != ABSENT))
    in_order = range(0, used * stored, stored)
    if np.array_equal(offsets[:used], np.arange(used, dtype=np.uint64) * np.uint64(stored)):
        return in_order
    found: list[int] = offsets.tolist()
    return found
