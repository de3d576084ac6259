"""Reading the activations of a finished cache: every byte that is handed out has passed its checksum."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from cache.batch import PairBatch
from cache.errors import (
    CacheError,
    CacheIncompleteError,
    CacheRemoteError,
)
from cache.files.location import Location, located
from cache.files.open_files import OpenFiles
from cache.format.layout import (
    ACTIVATIONS,
    check_arrays,
)
from cache.format.ledger_check import Checksums, check_ledger, progress
from cache.format.manifest import Manifest, refuse_other_identity
from cache.format.position_means import PositionMeans
from cache.format.root import Completion, read_root
from cache.format.storage import Calibration, StoredRows, as_tensor
from cache.reading.buffers import Allocate, RecycledBuffers, ordinary
from cache.reading.checksums import ChunkChecksums
from cache.reading.pair_rows import naming_pairs
from cache.reading.position_means import read_position_means, stored_position_means
from cache.reading.prefetch import prefetched
from cache.reading.sharded_array import ShardedArray
from cache.reading.stored_array import StoredArray
from cache.reading.tables import CacheTables, replacement_is_told
from cache.reading.together import Task, run_together

LOCAL_THREADS = min(8, 2 * (os.cpu_count() or 1))
"""Threads that read from disk: more than processors, since some wait for it."""

REMOTE_THREADS = 8
"""Requests of a server that are under way at a time."""


class ActivationCache(CacheTables):
    """A finished cache, opened for reading from any number of threads; get one from `ActivationCache.open`.

    It is a context manager that closes itself; without, its files are closed when nobody refers to it any more.
    Attributes and tables are those of `CacheTables`.
    """

    def __init__(
        self,
        location: Location,
        manifest: Manifest,
        completion: Completion,
        checksums: Checksums | None = None,
    ) -> None:
        """Refer to the cache at `location`; without its `checksums` its ledger is checked when they are needed."""
        super().__init__(location, manifest, completion)
        self._files = OpenFiles(location)
        read = functools.partial(check_ledger, location, manifest, completion)
        chunks = ChunkChecksums(read if checksums is None else lambda: checksums)
        self._arrays = {
            name: ShardedArray(self._files, layout, chunks) for name, layout in self._layouts.items()
        }
        self._activations = {name: StoredArray(name, self._arrays) for name in ACTIVATIONS}
        self._threads = LOCAL_THREADS if self._files.is_local else REMOTE_THREADS
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="cache-reader")
        self._closed = False

    @classmethod
    def open(cls, path: Path | str, backbone: Mapping[str, Any] | None = None) -> Self:
        """Open the cache at `path`.

        Args:
            path: folder of the cache, or a URL that fsspec knows, such as `https://host/NAME.zarr`.
            backbone: identity of the model that the activations must come from; None accepts any.

        Raises:
            CacheMissingError: nothing is at `path`.
            CacheFormatError: something else is there, or metadata contradicts the manifest.
            CacheIncompleteError: shards are missing; names how many are written.
            CacheIdentityError: the cache comes from another backbone; names every differing key and both values.
            CacheCorruptError: a file is missing or has the wrong size.
            CacheReplacedError: the cache was replaced meanwhile.
            CacheAccessError: a file cannot be read.
            CacheRemoteError: the server behind the URL fails.
        """
        location = located(path)
        manifest, completion = read_root(location)
        if backbone is not None:
            refuse_other_identity(
                {"backbone": manifest.backbone},
                {"backbone": dict(backbone)},
                str(location),
                "encode again with this backbone or use the one it was written with",
            )
        if completion is None:
            raise CacheIncompleteError(
                f"{location}: {progress(location, manifest)}; "
                "run the command that encodes it again, it continues where it stopped"
            )
        with replacement_is_told(location, manifest, completion):
            check_arrays(location, manifest)
            checksums = check_ledger(location, manifest, completion)
        return cls(location, manifest, completion, checksums)

    def __reduce__(self) -> tuple[Any, ...]:
        """What a Dask task in another process gets: the same cache with files and threads of its own."""
        return _same, (str(self._location), self.manifest, self._completion)

    @property
    def path(self) -> Path:
        """Folder of the cache. Raises CacheRemoteError if it is behind a URL."""
        if not isinstance(self._location, Path):
            raise CacheRemoteError(f"{self}: this takes a cache on disk; copy it there first")
        return self._location

    def close(self) -> None:
        """Close all files and end all threads; nothing can be read any more."""
        self._closed = True
        self._executor.shutdown()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @functools.cached_property
    def position_means(self) -> dict[str, PositionMeans]:
        """Exact means of "vision" and "text" at every position of a patch and of a token.

        They are of the tokens that `statistics` are of. A cache of an earlier release has none stored, and all its
        tokens are read for it.

        Raises:
            CacheFormatError: what is stored cannot be means.
            CacheCorruptError, CacheAccessError: as `read_pairs`.
        """
        with self._unreplaced():
            stored = stored_position_means(self._location, self.manifest, self._completion)
        return stored or read_position_means(self, self.read_stored)

    @property
    def scratch_bytes(self) -> int:
        """Bytes that all threads that read, and the one that waits for them, need for themselves."""
        reading = sum(array.scratch_bytes for array in self._arrays.values())
        decoding = sum(array.scratch_bytes for array in self._activations.values())
        return (self._threads + 1) * (reading + decoding)

    def read_pairs(
        self, pair_indices: Int[np.ndarray, "pair"] | Sequence[int], allocate: Allocate = ordinary
    ) -> PairBatch:
        """Read pairs in the given order into host memory.

        Args:
            pair_indices: [pair], each in `range(pairs)`.
            allocate: where the memory of the batch comes from.

        Raises:
            IndexError: an index is out of range.
            CacheCorruptError: a shard file is missing, truncated, or fails a checksum; names array, shard and pairs.
            CacheReplacedError: that is because the cache was replaced since it was opened.
            CacheAccessError: a file cannot be read; names the same as the first.
        """
        where = self.pair_rows(pair_indices)
        tokens = where.tokens
        rows = {
            "vision/tokens": where.images,
            "vision/pooled": where.images,
            "text/tokens": tokens,
            "text/pooled": where.captions,
        }
        values = {name: self._allocated(allocate, name, len(rows[name])) for name in rows}
        token_ids = allocate((len(tokens),), torch.int64)
        tasks: list[Task] = []
        for name, tensor in values.items():
            tasks += self._activations[name].tasks(rows[name], tensor.numpy())
        tasks += self._arrays["text/token_ids"].tasks(tokens, token_ids.numpy())
        try:
            self._run(tasks)
        except CacheError as error:
            raise naming_pairs(error, where) from error
        return PairBatch(
            pair=torch.from_numpy(where.pairs),
            vision_tokens=values["vision/tokens"],
            text_tokens=values["text/tokens"],
            text_offsets=torch.from_numpy(where.token_offsets),
            token_ids=token_ids,
            vision_pooled=values["vision/pooled"],
            text_pooled=values["text/pooled"],
        )

    def read_rows(
        self,
        name: str,
        rows: Int[np.ndarray, "row"] | range,
        out: Shaped[np.ndarray, "row ..."] | None = None,
    ) -> Shaped[np.ndarray, "row ..."]:
        """Rows of the sharded array `name`, for example "vision/tokens", in the given order.

        Args:
            name: of the array.
            rows: their numbers; those that follow each other, as in a range, are read together.
            out: contiguous [row, *row_shape], where to put them: of the array's dtype, or float32 for an array of
                floats. By default a new array of the dtype as stored.

        Returns:
            `out`.

        Raises:
            IndexError: the array has no such row.
            CacheCorruptError, CacheAccessError: as `read_pairs`.
        """
        if isinstance(rows, range):
            rows = np.arange(rows.start, rows.stop, rows.step)
        array = self._arrays[name]
        out = array.empty(len(rows)) if out is None else out
        self._run(array.tasks(np.asarray(rows, np.int64), out))
        return out

    def read_stored(self, name: str, rows: Int[np.ndarray, "row"]) -> StoredRows:
        """Rows of one of the `ACTIVATIONS` as `read_rows` reads them, with what decoding them needs.

        Raises:
            CacheCorruptError, CacheAccessError: as `read_pairs`.
        """
        return StoredRows(as_tensor(self.read_rows(name, rows)), self.calibration(name, rows))

    def calibration(self, name: str, rows: Int[np.ndarray, "row"]) -> Calibration | None:
        """What decoding rows of one of the `ACTIVATIONS` takes if they are int8, else None. Raises as `read_pairs`."""
        return self._activations[name].calibration(rows)

    def iterate(self, batch_pairs: int, pairs: Int[np.ndarray, " pair"] | None = None) -> Iterator[PairBatch]:
        """Read `pairs`, by default all, in order, the last batch possibly smaller, one of them prefetched.

        Three batches are in memory at a time: the one in use, the next, and the one that is being read.
        """
        pairs = np.arange(self.pairs) if pairs is None else pairs
        parts = (pairs[start : start + batch_pairs] for start in range(0, len(pairs), batch_pairs))
        return prefetched(functools.partial(self.read_pairs, allocate=RecycledBuffers()), parts, depth=1)

    def _run(self, tasks: Sequence[Task]) -> None:
        if self._closed:
            raise CacheError(f"{self}: was closed; open it again to read from it")
        with self._unreplaced():
            run_together(self._executor, tasks)

    def _allocated(self, allocate: Allocate, name: str, rows: int) -> Tensor:
        return allocate((rows, *self._layouts[name].row_shape), torch.float32)


def _same(location: str, manifest: Manifest, completion: Completion) -> ActivationCache:
    return ActivationCache(located(location), manifest, completion)
