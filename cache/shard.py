"""The bytes of one Zarr v3 shard file, written whole; `cache.sharded_array` reads it.

This is the `sharding_indexed` format: chunks one after another, each followed by its CRC32C; at the end the index,
`offset, length` as two little-endian uint64 for every chunk, followed by its own CRC32C.
"""

from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from cache.durable import DurableFile, WrittenFile
from cache.layout import CHECKSUM_BYTES, ShardedLayout
from cache.shard_index import ABSENT

_BLOCK_BYTES = 8 << 20
"""Chunks are gathered into blocks of this size, so that few system calls, and few waits for the hash, are needed."""


def write_shard_file(path: Path, layout: ShardedLayout, rows: Shaped[np.ndarray, "row ..."]) -> WrittenFile:
    """Write a shard file with `rows` at its front durably; the caller syncs the folder.

    The last chunk is padded with zeros; chunks beyond the rows are absent from the file. These are the very bytes
    that zarr-python writes for the same rows.
    """
    raw = np.ascontiguousarray(rows, layout.dtype).reshape(-1).view(np.uint8)
    chunks = -(-len(rows) // layout.chunk_rows)
    stored = layout.chunk_bytes + CHECKSUM_BYTES
    block = np.zeros((min(max(1, _BLOCK_BYTES // stored), chunks), stored), np.uint8)
    with DurableFile(path) as file:
        for first in range(0, chunks, max(1, len(block))):
            part = block[: chunks - first]
            body = raw[first * layout.chunk_bytes : (first + len(part)) * layout.chunk_bytes]
            whole = len(body) // layout.chunk_bytes
            part[:whole, :-CHECKSUM_BYTES] = body[: whole * layout.chunk_bytes].reshape(
                whole, layout.chunk_bytes
            )
            if whole < len(part):
                rest = body[whole * layout.chunk_bytes :]
                part[whole, : len(rest)] = rest
                part[whole, len(rest) :] = 0
            for chunk in part:
                chunk[-CHECKSUM_BYTES:] = np.frombuffer(_checksum(chunk[:-CHECKSUM_BYTES]), np.uint8)
            file.write(part)
        index = np.full((layout.shard_chunks, 2), ABSENT, "<u8")
        index[:chunks, 0] = np.arange(chunks, dtype=np.uint64) * np.uint64(stored)
        index[:chunks, 1] = stored
        file.write(index)
        file.write(_checksum(index.reshape(-1).view(np.uint8)))
    return file.written


def _checksum(buffer: NDArray[np.uint8]) -> bytes:
    checksum: int = google_crc32c.value(buffer)
    return checksum.to_bytes(CHECKSUM_BYTES, "little")
