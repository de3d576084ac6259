"""The bytes of one Zarr v3 shard file, written whole; `cache.reading.sharded_array` reads it.

This is the `sharding_indexed` format: chunks one after another, as their codec makes them, each followed by its
CRC32C; at the end the index, `offset, length` as two little-endian uint64 for every chunk, followed by its own CRC32C.
"""

from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Shaped

from cache.files.durable import DurableFile
from cache.format.codecs import CODECS
from cache.format.layout import CHECKSUM_BYTES, ShardedLayout
from cache.format.ledger import ShardFile
from cache.format.shard_index import shard_index


def write_shard_file(path: Path, layout: ShardedLayout, rows: Shaped[np.ndarray, "row ..."]) -> ShardFile:
    """Write a shard file with `rows` at its front durably; the caller syncs the folder.

    The last chunk is padded with zeros; chunks beyond the rows are absent from the file. These are the very bytes
    that zarr-python writes for the same rows.
    """
    raw = np.ascontiguousarray(rows, layout.dtype).reshape(-1).view(np.uint8)
    codec = CODECS[layout.codec]
    checksums, offsets = bytearray(), [0]
    with DurableFile(path) as file:
        for start in range(0, len(raw), layout.chunk_bytes):
            chunk = raw[start : start + layout.chunk_bytes]
            if len(chunk) < layout.chunk_bytes:
                chunk = np.pad(chunk, (0, layout.chunk_bytes - len(chunk)))
            stored = chunk if layout.codec == "none" else codec.encode(chunk, layout.dtype)
            value: int = google_crc32c.value(stored)
            checksum = value.to_bytes(CHECKSUM_BYTES, "little")
            file.write(stored)
            file.write(checksum)
            checksums += checksum
            offsets.append(file.tell())
        file.write(shard_index(layout, np.array(offsets)))
    return ShardFile(file.written, bytes(checksums))
