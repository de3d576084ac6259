"""Checked access to the rows of one sharded array, in any order or in ranges, from any number of threads.

This module reads the `sharding_indexed` format itself, since whichever way zarr-python reads the same rows takes
longer: of images' tokens in random order, the best way of 3.1 ten times as long and that of 3.4 six times; of caption
tokens and pooled embeddings, 3.4 takes two to twenty times as long (`python -m benchmarks.zarr_reading`, on a busy
machine). Rows that lie one after another are read together; every chunk is compared with its CRC32C, and that with the
ledger's for its place, while it is in the processor's cache, and there, too, converted to the dtype of the caller's
buffer.
"""

import functools
from collections import deque
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped, UInt32
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import CacheAccessError, CacheCorruptError, CacheError, CacheRemoteError, LostRows, reason
from cache.files.open_files import OpenFiles
from cache.files.source import ByteSource
from cache.format.layout import ShardedLayout
from cache.format.shard_index import chunk_offsets
from cache.format.storage import as_tensor
from cache.reading.checksums import ChunkChecksums
from cache.reading.chunk_buffer import ChunkBuffer, DamageError, EncodedChunks, copy_values
from cache.reading.together import Task

_RUN_BYTES = 1 << 20
"""Chunks that lie one after another are read together up to this size."""

_RUN_CHUNKS = 512
"""And up to this number: a chunk and its checksum are two buffers, and the kernel fills 1,024 in one call."""

_DIRECT_BYTES = 1 << 16
"""Chunks from this size on go straight to the caller's buffer; smaller ones are copied there with less ado."""

_TASK_BYTES = 2 << 20
"""A thread takes about this much work at a time."""

_LOCAL_SPAN_BYTES = 16 << 10
"""What it costs to begin reading at another place, in bytes that could be read meanwhile: on a local disk."""

_REMOTE_SPAN_BYTES = 512 << 10
"""The same over a network."""


_REMEDY = "restore the file or encode again"


class _Span(NamedTuple):
    """Rows that lie one after another in the same shard, and so do their places in the caller's buffer."""

    row: int
    rows: int
    position: int


class _Target(NamedTuple):
    """The caller's buffer as a tensor and, if whole chunks can be read straight into it, as an array."""

    rows: Tensor
    direct: NDArray[Any] | None


class ShardedArray:
    """One sharded array of a cache; every value it hands out has passed its checksum."""

    def __init__(self, files: OpenFiles, layout: ShardedLayout, checksums: ChunkChecksums) -> None:
        """Refer to the array described by `layout` of the cache whose `files` and `checksums` these are."""
        self.layout = layout
        self._files = files
        self._checksums = checksums
        self._offsets: dict[int, NDArray[np.int64]] = {}
        self._indexed: set[int] = set()
        run_chunks = min(_RUN_CHUNKS, max(1, _RUN_BYTES // layout.largest_chunk))
        self._run_rows = run_chunks * layout.chunk_rows
        self._run_chunks = run_chunks
        self._scratches: deque[_Scratch] = deque()

    @property
    def scratch_bytes(self) -> int:
        """Bytes that each thread needs for itself; what a server sends is for a moment there thrice."""
        stored = self._run_chunks * self.layout.largest_chunk
        decoded = 0 if self.layout.codec == "none" else self._run_chunks * self.layout.chunk_bytes
        return stored * (1 if self._files.is_local else 4) + decoded

    def empty(self, rows: int) -> NDArray[Any]:
        """A buffer for so many rows, as stored."""
        return np.empty((rows, *self.layout.row_shape), self.layout.dtype)

    def read_rows(self, rows: Int[np.ndarray, "row"]) -> Shaped[np.ndarray, "row ..."]:
        """Rows in the given order, as stored, read by this thread alone. Raises like `tasks`."""
        out = self.empty(len(rows))
        for task in self.tasks(rows, out):
            task()
        return out

    def tasks(self, rows: Int[np.ndarray, "row"], out: Shaped[np.ndarray, "buffer_row ..."]) -> list[Task]:
        """The work of reading `rows`, in the given order, into `out`, to be done by any threads.

        Args:
            rows: int64 [row], in any order, with repetitions if need be.
            out: contiguous [row, *row_shape]; of the array's dtype, or float32 for an array of floats.

        Raises:
            IndexError: the array has no such row.
            ValueError: `out` is not such a buffer.
            CacheCorruptError: (when a task is run) a shard file is missing, truncated, or fails a checksum.
            CacheAccessError: (when a task is run) a file cannot be read; like the former it names array and shard.
        """
        layout = self.layout
        if len(rows) and not 0 <= rows.min() <= rows.max() < layout.shape[0]:
            raise IndexError(f"{layout.name}: rows {rows.min()} to {rows.max()} of {layout.shape[0]}")
        if out.shape != (len(rows), *layout.row_shape) or out.dtype not in (layout.dtype, np.float32):
            raise ValueError(
                f"{layout.name}: a buffer of {out.dtype} {list(out.shape)} for {len(rows)} rows of "
                f"{layout.dtype} {list(layout.row_shape)}"
            )
        if not out.flags.c_contiguous:
            raise ValueError(f"{layout.name}: the buffer is not contiguous")
        row, length, position = self._spans(rows)
        distance = _LOCAL_SPAN_BYTES if self._files.is_local else _REMOTE_SPAN_BYTES
        cost = np.cumsum(length * layout.row_bytes + distance)
        borders = np.flatnonzero(np.diff(cost // _TASK_BYTES)) + 1
        spans = list(map(_Span, row.tolist(), length.tolist(), position.tolist()))
        return [
            functools.partial(self._read, spans[first:last], out)
            for first, last in pairwise([0, *borders.tolist(), len(spans)])
            if first < last
        ]

    def _spans(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """First row, number of rows and position in the buffer of each span, in the order of the file."""
        follows = np.diff(rows) == 1
        follows &= (rows[1:] % self._run_rows != 0) & (rows[1:] % self.layout.shard_rows != 0)
        position = np.flatnonzero(np.concatenate([np.ones(min(1, len(rows)), bool), ~follows]))
        length = np.diff(position, append=len(rows))
        order = np.argsort(rows[position], kind="stable")
        return rows[position][order], length[order], position[order]

    def _read(self, spans: list[_Span], out: NDArray[Any]) -> None:
        """Read spans, ascending, those of one shard from one open file."""
        same = out.dtype == self.layout.dtype
        direct = out if same and self.layout.chunk_bytes >= _DIRECT_BYTES else None
        target = _Target(as_tensor(out) if same else torch.from_numpy(out), direct)
        try:
            scratch = self._scratches.pop()
        except IndexError:
            scratch = _Scratch(self._run_chunks, self.layout)
        for shard, of_shard in groupby(spans, lambda span: span.row // self.layout.shard_rows):
            try:
                file = self._files.get(self.layout.shard_file(shard))
                expected = self._expected(shard, file)
                for span in of_shard:
                    self._read_span(span, file, expected, target, scratch)
            except DamageError as damage:
                problem = f"{damage.problem}; {_REMEDY}"
                raise self._error(CacheCorruptError, shard, problem, damage.chunk) from None
            except FileNotFoundError:
                raise self._error(CacheCorruptError, shard, f"is missing; {_REMEDY}") from None
            except CacheRemoteError as error:
                raise CacheRemoteError(f"{error}; this is {self.layout.name} shard {shard}") from error
            except OSError as error:
                raise self._error(CacheAccessError, shard, f"cannot be read: {reason(error)}") from None
        self._scratches.append(scratch)

    def _read_span(
        self,
        span: _Span,
        file: ByteSource,
        expected: UInt32[np.ndarray, "chunk"],
        target: _Target,
        scratch: "_Scratch",
    ) -> None:
        row, rows, position = span
        layout = self.layout
        chunk, skipped = divmod(row % layout.shard_rows, layout.chunk_rows)
        end = chunk + layout.chunks(skipped + rows)
        if end > len(expected):
            raise DamageError(f"chunk {len(expected)} was never written", len(expected))
        content = None
        if target.direct is not None and rows == (end - chunk) * layout.chunk_rows:
            content = target.direct[position : position + rows].reshape(end - chunk, -1).view(np.uint8)
        if scratch.encoded is not None:
            offsets = self._offsets[row // layout.shard_rows][chunk : end + 1]
            into = scratch.content if content is None else content
            scratch.encoded.decode(file, chunk, offsets, expected[chunk:end], into)
        else:
            (scratch.buffer if content is None else ChunkBuffer(content)).fill(
                file, chunk, expected[chunk:end]
            )
        if content is None:
            copy_values(scratch.rows[skipped : skipped + rows], target.rows[position : position + rows])

    def _expected(self, shard: int, file: ByteSource) -> UInt32[np.ndarray, "chunk"]:
        """CRC32C of every chunk of the shard, whose index, read once, has to list as many."""
        expected = self._checksums.of(self.layout.shard_file(shard))
        if shard not in self._indexed:
            try:
                offsets = chunk_offsets(file.read_tail(self.layout.index_bytes), self.layout)
            except ValueError as error:
                raise DamageError(str(error)) from None
            if len(offsets) - 1 != len(expected):
                raise DamageError(f"has an index of {len(offsets) - 1} chunks, {len(expected)} were written")
            if self.layout.codec != "none":
                self._offsets[shard] = offsets
            self._indexed.add(shard)
        return expected

    def _error(
        self, kind: type[CacheError], shard: int, problem: str, chunk: int | None = None
    ) -> CacheError:
        layout = self.layout
        first, rows = shard * layout.shard_rows, layout.shard_rows
        if chunk is not None:
            first, rows = first + chunk * layout.chunk_rows, layout.chunk_rows
        where = f"{self._files.folder}: {layout.name} shard {shard} ({layout.shard_file(shard)})"
        error = kind(f"{where}: {problem}")
        error.lost = LostRows(layout.dimensions[0], range(first, first + rows))
        return error


class _Scratch:
    """Memory that one thread at a time uses for chunks that do not go to the caller's buffer as they are."""

    def __init__(self, chunks: int, layout: ShardedLayout) -> None:
        self.content = np.empty((chunks, layout.chunk_bytes), np.uint8)
        self.rows = as_tensor(self.content.reshape(-1).view(layout.dtype).reshape(-1, *layout.row_shape))
        self.encoded = None if layout.codec == "none" else EncodedChunks(layout, chunks)

    @functools.cached_property
    def buffer(self) -> ChunkBuffer:
        """The same memory as chunks."""
        return ChunkBuffer(self.content)
