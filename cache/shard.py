"""The bytes of one Zarr v3 shard file, written whole and read chunk by chunk.

zarr-python 3.1 reads random chunks of a shard some hundred times slower than the disk delivers them, so this
module speaks the `sharding_indexed` format itself: chunks one after another, each followed by its CRC32C; at the
end the index, `offset, length` as two little-endian uint64 for every chunk, followed by its own CRC32C.
"""

import os
import threading
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from jaxtyping import Int, Shaped
from numpy.typing import NDArray

from cache.durable import DurableFile, WrittenFile
from cache.errors import CacheCorruptError
from cache.layout import CHECKSUM_BYTES, ShardedLayout

_ABSENT = 2**64 - 1
"""Offset and length in the index of a chunk that was never written."""

_BLOCK_BYTES = 1 << 20
"""Chunks are gathered into blocks of this size, so that small ones do not cost a system call each."""


def write_shard_file(path: Path, layout: ShardedLayout, rows: Shaped[np.ndarray, "row ..."]) -> WrittenFile:
    """Write a shard file with `rows` at its front durably; the caller syncs the folder.

    The last chunk is padded with zeros; chunks beyond the rows are absent from the file. These are the very bytes
    that zarr-python writes for the same rows.
    """
    raw = np.ascontiguousarray(rows, layout.dtype).reshape(-1).view(np.uint8)
    chunks = -(-len(rows) // layout.chunk_rows)
    stored = layout.chunk_bytes + CHECKSUM_BYTES
    block_chunks = max(1, _BLOCK_BYTES // stored)
    with DurableFile(path) as file:
        for first in range(0, chunks, block_chunks):
            block = np.zeros((min(block_chunks, chunks - first), stored), np.uint8)
            body = raw[first * layout.chunk_bytes : (first + len(block)) * layout.chunk_bytes]
            whole = len(body) // layout.chunk_bytes
            block[:whole, :-CHECKSUM_BYTES] = body[: whole * layout.chunk_bytes].reshape(
                whole, layout.chunk_bytes
            )
            if whole < len(block):
                rest = body[whole * layout.chunk_bytes :]
                block[whole, : len(rest)] = rest
            for chunk in block:
                chunk[-CHECKSUM_BYTES:] = np.frombuffer(_checksum(chunk[:-CHECKSUM_BYTES]), np.uint8)
            file.write(block)
        index = np.full((layout.shard_chunks, 2), _ABSENT, "<u8")
        index[:chunks, 0] = np.arange(chunks, dtype=np.uint64) * np.uint64(stored)
        index[:chunks, 1] = stored
        file.write(index)
        file.write(_checksum(index.reshape(-1).view(np.uint8)))
    return file.written


class ShardedArray:
    """Checked random access to one sharded array of a cache, from any number of threads."""

    def __init__(self, folder: Path, layout: ShardedLayout) -> None:
        """Refer to the array described by `layout` of the cache at `folder`; nothing is opened yet."""
        self.layout = layout
        self._folder = folder
        self._offsets: dict[int, NDArray[np.uint64]] = {}
        self._lock = threading.Lock()

    def read_chunks(
        self,
        chunks: Int[np.ndarray, "chunk"],
        out: NDArray[Any],
        executor: Executor | None = None,
        parts: int = 1,
    ) -> None:
        """Read inner chunks, numbered through all shards, straight into `out` and check every CRC32C.

        Args:
            chunks: int64 [chunk], in any order, with repetitions if need be.
            out: contiguous [chunk, chunk_rows, *row_shape] (or without the chunk_rows axis when it is 1).
            executor: where to run all parts but one; the calling thread reads the other.
            parts: in how many parts to split the work.

        Raises:
            CacheCorruptError: a shard file is missing, truncated, or fails a checksum; names array and shard.
        """
        if len(chunks) == 0:
            return
        order = np.argsort(chunks, kind="stable")
        target = out.reshape(len(chunks), -1).view(np.uint8)
        pieces = np.array_split(order, min(parts, max(1, len(chunks) // 4)) if executor else 1)
        running: list[Future[None]] = [
            executor.submit(self._read, chunks, piece, target) for piece in pieces[1:] if executor is not None
        ]
        try:
            self._read(chunks, pieces[0], target)
        finally:
            errors = [future.exception() for future in running]
        for error in errors:
            if error is not None:
                raise error

    def read_rows(
        self, rows: Int[np.ndarray, "row"], executor: Executor | None = None, parts: int = 1
    ) -> NDArray[Any]:
        """Rows in the given order, as stored: [row, *row_shape]. Raises CacheCorruptError like `read_chunks`."""
        layout = self.layout
        if layout.chunk_rows == 1:
            out = np.empty((len(rows), *layout.row_shape), layout.dtype)
            self.read_chunks(rows, out, executor, parts)
            return out
        needed, position = np.unique(rows // layout.chunk_rows, return_inverse=True)
        buffer = np.empty((len(needed) * layout.chunk_rows, *layout.row_shape), layout.dtype)
        self.read_chunks(needed, buffer, executor, parts)
        result: NDArray[Any] = buffer[position * layout.chunk_rows + rows % layout.chunk_rows]
        return result

    def _read(self, chunks: NDArray[np.int64], piece: NDArray[np.int64], target: NDArray[np.uint8]) -> None:
        """Read the chunks at the positions `piece`, sorted by chunk, opening each shard file once."""
        shards = chunks[piece] // self.layout.shard_chunks
        for shard in np.unique(shards):
            self._read_shard(int(shard), chunks, piece[shards == shard], target)

    def _read_shard(
        self, shard: int, chunks: NDArray[np.int64], positions: NDArray[np.int64], target: NDArray[np.uint8]
    ) -> None:
        checksum = bytearray(CHECKSUM_BYTES)
        expected = self.layout.chunk_bytes + CHECKSUM_BYTES
        file = self._open(shard)
        try:
            offsets = self._index(shard, file)
            for position in positions:
                chunk = int(chunks[position]) % self.layout.shard_chunks
                row = target[position]
                if offsets[chunk] == _ABSENT:
                    raise self._corrupt(shard, f"chunk {chunk} was never written")
                if os.preadv(file, [memoryview(row), checksum], int(offsets[chunk])) != expected:
                    raise self._corrupt(shard, f"truncated in chunk {chunk}")
                if google_crc32c.value(row) != int.from_bytes(checksum, "little"):
                    raise self._corrupt(shard, f"chunk {chunk} fails its CRC32C")
        finally:
            os.close(file)

    def _open(self, shard: int) -> int:
        try:
            return os.open(self._folder / self.layout.shard_file(shard), os.O_RDONLY)
        except OSError as error:
            raise self._corrupt(shard, f"cannot be opened: {error.strerror}") from None

    def _index(self, shard: int, file: int) -> NDArray[np.uint64]:
        """Offset of every chunk of the shard, from its checked index; read once and kept."""
        with self._lock:
            if shard in self._offsets:
                return self._offsets[shard]
        size, length = os.fstat(file).st_size, self.layout.index_bytes
        content = os.pread(file, length, max(0, size - length))
        if len(content) != length:
            raise self._corrupt(shard, f"truncated to {size} bytes")
        if google_crc32c.value(content[:-CHECKSUM_BYTES]) != int.from_bytes(
            content[-CHECKSUM_BYTES:], "little"
        ):
            raise self._corrupt(shard, "its index fails its CRC32C")
        index = np.frombuffer(content[:-CHECKSUM_BYTES], "<u8").reshape(-1, 2)
        if not np.isin(index[:, 1], (_ABSENT, self.layout.chunk_bytes + CHECKSUM_BYTES)).all():
            raise self._corrupt(shard, "its index has chunks of an unexpected length")
        offsets = index[:, 0].astype(np.uint64)
        with self._lock:
            self._offsets[shard] = offsets
        return offsets

    def _corrupt(self, shard: int, problem: str) -> CacheCorruptError:
        return CacheCorruptError(
            f"{self._folder}: {self.layout.name} shard {shard} ({self.layout.shard_file(shard)}): {problem}; "
            "restore the file or encode this cache again"
        )


def _checksum(buffer: NDArray[np.uint8]) -> bytes:
    checksum: int = google_crc32c.value(buffer)
    return checksum.to_bytes(CHECKSUM_BYTES, "little")
