"""Reading a finished cache: every byte that is handed out has passed its checksum."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from cache.batch import PairBatch
from cache.errors import (
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheIncompleteError,
    CacheRemoteError,
)
from cache.files.location import Location, located
from cache.files.open_files import OpenFiles
from cache.format.layout import (
    ACTIVATIONS,
    LEDGER_FILE,
    POSITION_FILES,
    SAMPLES_FILE,
    check_arrays,
    sharded_layouts,
)
from cache.format.ledger import read_statistics
from cache.format.ledger_check import Checksums, check_ledger, progress
from cache.format.manifest import Manifest, refuse_other_identity
from cache.format.parquet import read_row_groups
from cache.format.root import Completion, read_root, refuse_replaced
from cache.format.samples import SAMPLES_SCHEMA, read_samples
from cache.format.small_array import read_small_array
from cache.format.statistics import SideStatistics
from cache.format.storage import Calibration, StoredRows, as_tensor
from cache.reading.buffers import Allocate, RecycledBuffers, ordinary
from cache.reading.checksums import ChunkChecksums
from cache.reading.pair_rows import PairRows, naming_pairs
from cache.reading.prefetch import prefetched
from cache.reading.sharded_array import ShardedArray
from cache.reading.stored_array import StoredArray
from cache.reading.together import Piece, run_together

LOCAL_THREADS = min(8, 2 * (os.cpu_count() or 1))
"""Threads that read from disk: more than processors, since some wait for it."""

REMOTE_THREADS = 8
"""Requests of a server that are under way at a time."""


class ActivationCache:
    """A finished cache, opened for reading from any number of threads; get one from `ActivationCache.open`.

    It is a context manager that closes itself; without, its files are closed when nobody refers to it any more.
    `str(cache)` is its path or URL.

    Attributes:
        manifest: identity and dimensions.
        pairs: number of pairs.
        skipped: number of rows of samples that are no pair.
        text_tokens: number of valid text tokens.
    """

    def __init__(
        self,
        location: Location,
        manifest: Manifest,
        completion: Completion,
        checksums: Checksums | None = None,
    ) -> None:
        """Refer to the cache at `location`; without its `checksums` its ledger is checked when they are needed."""
        self.manifest = manifest
        self.pairs = completion.totals["pairs"]
        self.skipped = completion.totals["skipped"]
        self.text_tokens = completion.totals["tokens"]
        self._location = location
        self._completion = completion
        self._files = OpenFiles(location)
        read = functools.partial(check_ledger, location, manifest, completion)
        chunks = ChunkChecksums(read if checksums is None else lambda: checksums)
        self._arrays = {
            name: ShardedArray(self._files, layout, chunks)
            for name, layout in sharded_layouts(manifest).items()
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
        with _replacement_is_told(location, manifest, completion):
            check_arrays(location, manifest)
            checksums = check_ledger(location, manifest, completion)
        return cls(location, manifest, completion, checksums)

    def __str__(self) -> str:
        return str(self._location)

    def __reduce__(self) -> tuple[Any, ...]:
        """What a Dask task in another process gets: the same cache with files and threads of its own."""
        return _same, (str(self._location), self.manifest, self._completion)

    @property
    def path(self) -> Path:
        """Folder of the cache. Raises CacheRemoteError if it is behind a URL."""
        if not isinstance(self._location, Path):
            raise CacheRemoteError(f"{self}: this takes a cache on disk; copy it there first")
        return self._location

    @property
    def content_blake3(self) -> str:
        """BLAKE3 of the ledger, which has the hash of every file: tells this cache from another of its manifest."""
        return self._completion.files[LEDGER_FILE].blake3

    def close(self) -> None:
        """Close all files and end all threads; nothing can be read any more."""
        self._closed = True
        self._executor.shutdown()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def scratch_bytes(self) -> int:
        """Bytes that all threads that read, and the one that waits for them, need for themselves."""
        reading = sum(array.scratch_bytes for array in self._arrays.values())
        decoding = sum(array.scratch_bytes for array in self._activations.values())
        return (self._threads + 1) * (reading + decoding)

    @functools.cached_property
    def statistics(self) -> dict[str, SideStatistics]:
        """Statistics of "vision" and "text": exact moments of the stored tokens that are part of a pair."""
        with self._unreplaced():
            return {
                side: read_statistics(self._location, side, self._completion) for side in ("vision", "text")
            }

    @functools.cached_property
    def samples(self) -> pa.Table:
        """The rows of samples.parquet, columns `SAMPLES_SCHEMA`; skipped ones have a null `pair`.

        All of COCO's take gigabytes, most of them outlines of objects: `read_samples` reads only some columns.
        """
        return self.read_samples(SAMPLES_SCHEMA.names)

    def read_samples(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of `samples`, in the given order; nothing else is held in memory.

        Raises:
            CacheCorruptError: samples.parquet is missing or damaged.
            CacheReplacedError: the cache was replaced since it was opened.
            CacheAccessError: it cannot be read.
        """
        written = self._completion.files.get(SAMPLES_FILE)
        with self._unreplaced():
            return read_samples(self._location / SAMPLES_FILE, written, list(columns))

    def read_pair_samples(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of `samples`, only the rows that are a pair: row i is of pair i. Raises as `read_samples`."""
        samples = self.read_samples(list(dict.fromkeys(["pair", *columns])))
        return samples.filter(samples["pair"].is_valid()).select(list(columns))

    def read_sample_rows(self, rows: Int[np.ndarray, "row"]) -> pa.Table:
        """Some rows of `samples`, numbered in ascending order, with those of one shard in memory beside them.

        Raises:
            CacheCorruptError, CacheReplacedError, CacheAccessError: as `read_samples`; only the rows of these shards
                are checked.
        """
        shard_of_row = self.sample_numbers["image_row"].to_numpy() // self.manifest.shard_images
        shards = np.unique(shard_of_row[rows])
        written = self._completion.files.get(SAMPLES_FILE)
        tables = read_row_groups(
            self._location / SAMPLES_FILE, SAMPLES_SCHEMA, shards.tolist(), written.bytes if written else 0
        )
        with self._unreplaced():
            found = pa.concat_tables(
                table.take(pa.array(rows[shard_of_row[rows] == shard] - np.searchsorted(shard_of_row, shard)))
                for shard, table in zip(shards, tables, strict=True)
            )
        # Rows tell nothing of their cache.
        refuse_replaced(self._location, self.manifest, self._completion)
        return found

    @functools.cached_property
    def sample_numbers(self) -> pa.Table:
        """The columns `pair`, `image_row` and `caption_row` of `samples`, few enough to stay in memory.

        Raises:
            CacheFormatError: they number other pairs, images or captions than the cache has.
            CacheCorruptError, CacheAccessError: as `read_samples`.
        """
        numbers = self.read_samples(["pair", "image_row", "caption_row"])
        pairs = numbers["pair"].drop_null().to_numpy()
        captioned = numbers.filter(numbers["pair"].is_valid())["caption_row"].drop_null()
        images = numbers["image_row"].to_numpy()
        captions = self._arrays["text/pooled"].layout.shape[0]
        if not (
            len(numbers) == self.pairs + self.skipped
            and np.array_equal(pairs, np.arange(self.pairs))
            and len(captioned) == self.pairs
            and _within(images, 0, self.manifest.images)
            and np.all(np.diff(images) >= 0)
            and _within(numbers["caption_row"].drop_null().to_numpy(), 0, captions)
        ):
            raise CacheFormatError(
                f"{self._location / SAMPLES_FILE}: does not list the {self.pairs} pairs of this cache and its "
                f"{self.skipped} other rows, with rows that its arrays have"
            )
        return numbers

    @property
    def pair_images(self) -> Int[np.ndarray, "pair"]:
        """Image row of every pair, int64."""
        return self._pair_columns["image_row"]

    @property
    def pair_captions(self) -> Int[np.ndarray, "pair"]:
        """Caption row of every pair, int64."""
        return self._pair_columns["caption_row"]

    @property
    def caption_starts(self) -> Int[np.ndarray, "caption"]:
        """Row of `text/tokens` where each caption row begins, int64."""
        return self._caption_positions[0]

    @property
    def caption_lengths(self) -> Int[np.ndarray, "caption"]:
        """Valid tokens of each caption row, int64."""
        return self._caption_positions[1]

    def read_pairs(self, pair_indices: Int[np.ndarray, "pair"], allocate: Allocate = ordinary) -> PairBatch:
        """Read pairs in the given order into host memory.

        Args:
            pair_indices: int64 [pair], each in `range(pairs)`.
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
        pieces: list[Piece] = []
        for name, tensor in values.items():
            pieces += self._activations[name].pieces(rows[name], tensor.numpy())
        pieces += self._arrays["text/token_ids"].pieces(tokens, token_ids.numpy())
        try:
            self._run(pieces)
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

    def read_images(
        self, image_rows: Int[np.ndarray, "image"]
    ) -> tuple[Float32[Tensor, "image patch channel"], Float32[Tensor, "image embedding"]]:
        """Patch tokens and pooled embeddings of image rows; rows of skipped images are zero.

        Raises:
            CacheCorruptError, CacheAccessError: as `read_pairs`.
        """
        rows = np.asarray(image_rows, np.int64)
        tokens, pooled = (
            self._allocated(ordinary, name, len(rows)) for name in ("vision/tokens", "vision/pooled")
        )
        self._run(
            [
                *self._activations["vision/tokens"].pieces(rows, tokens.numpy()),
                *self._activations["vision/pooled"].pieces(rows, pooled.numpy()),
            ]
        )
        return tokens, pooled

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
        self._run(array.pieces(np.asarray(rows, np.int64), out))
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

    def iterate(self, batch_pairs: int) -> Iterator[PairBatch]:
        """All pairs in order, the last batch possibly smaller, read ahead by one batch.

        Three batches are in memory at a time: the one in use, the next, and the one that is being read.
        """
        parts = (
            np.arange(start, min(start + batch_pairs, self.pairs))
            for start in range(0, self.pairs, batch_pairs)
        )
        return prefetched(functools.partial(self.read_pairs, allocate=RecycledBuffers()), parts, ahead=1)

    def pair_rows(self, pair_indices: Int[np.ndarray, "pair"]) -> PairRows:
        """Where pairs are in the arrays of the cache. Raises IndexError if there is no such pair."""
        pairs = np.array(pair_indices, np.int64)
        if len(pairs) and not 0 <= pairs.min() <= pairs.max() < self.pairs:
            raise IndexError(f"{self}: pair indices {pairs.min()} to {pairs.max()} of {self.pairs}")
        captions = self.pair_captions[pairs]
        return PairRows(
            pairs,
            self.pair_images[pairs],
            captions,
            self.caption_starts[captions],
            self.caption_lengths[captions],
            self.manifest.shard_images,
        )

    def _run(self, pieces: Sequence[Piece]) -> None:
        if self._closed:
            raise CacheError(f"{self}: was closed; open it again to read from it")
        with self._unreplaced():
            run_together(self._executor, pieces)

    def _unreplaced(self) -> AbstractContextManager[None]:
        return _replacement_is_told(self._location, self.manifest, self._completion)

    def _allocated(self, allocate: Allocate, name: str, rows: int) -> Tensor:
        return allocate((rows, *self._arrays[name].layout.row_shape), torch.float32)

    @functools.cached_property
    def _caption_positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`text/starts` and `text/lengths`. Raises CacheFormatError if a caption has tokens that no row is of."""
        captions, tokens = (self._arrays[f"text/{name}"].layout.shape[0] for name in ("pooled", "tokens"))
        recorded = self._completion.files
        with self._unreplaced():
            starts, lengths = (
                read_small_array(self._location / file, recorded.get(file), captions, np.dtype("<i8"))
                for file in POSITION_FILES
            )
        if not (
            _within(starts, 0, tokens + 1)
            and _within(lengths, 0, self.manifest.context_length + 1)
            and _within(starts + lengths, 0, tokens + 1)
        ):
            raise CacheFormatError(
                f"{self._location / 'text'}: starts and lengths give captions rows that text/tokens does not have"
            )
        return starts, lengths

    @functools.cached_property
    def _pair_columns(self) -> dict[str, NDArray[np.int64]]:
        table = self.sample_numbers.filter(self.sample_numbers["pair"].is_valid())
        return {name: table[name].to_numpy() for name in ("image_row", "caption_row")}


def _within(numbers: NDArray[np.int64], first: int, end: int) -> bool:
    return len(numbers) == 0 or bool(first <= numbers.min() and numbers.max() < end)


@contextmanager
def _replacement_is_told(location: Location, manifest: Manifest, completion: Completion) -> Iterator[None]:
    """If what is done here finds a damaged or missing file, tell whether that is because the cache was replaced."""
    try:
        yield
    except CacheCorruptError:
        refuse_replaced(location, manifest, completion)
        raise


def _same(location: str, manifest: Manifest, completion: Completion) -> ActivationCache:
    return ActivationCache(located(location), manifest, completion)
