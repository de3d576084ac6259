"""What the tables of a finished cache say: statistics, samples, and where the rows of its pairs are."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from numpy.typing import NDArray

from cache.errors import CacheCorruptError, CacheFormatError, unreadable
from cache.files.durable import WrittenFile, content_written
from cache.files.location import Location, read_whole
from cache.format.hierarchy import chunk_values
from cache.format.layout import CHECKSUM_BYTES, LEDGER_FILE, POSITION_FILES, SAMPLES_FILE, sharded_layouts
from cache.format.ledger import read_statistics
from cache.format.manifest import Manifest
from cache.format.parquet import read_row_groups
from cache.format.root import Completion, refuse_replaced
from cache.format.samples import SAMPLES_SCHEMA, read_samples
from cache.format.statistics import SideStatistics
from cache.reading.pair_rows import PairRows


class CacheTables:
    """The tables of a finished cache, each read when it is first asked for, and checked; its activations are not here.

    `str(tables)` is the cache's path or URL.

    Attributes:
        manifest: identity and dimensions.
        pairs: number of pairs.
        skipped: number of rows of samples that are no pair.
        text_tokens: number of valid text tokens.
    """

    def __init__(self, location: Location, manifest: Manifest, completion: Completion) -> None:
        """Refer to the cache at `location`, whose root says `manifest` and `completion`."""
        self.manifest = manifest
        self.pairs = completion.totals["pairs"]
        self.skipped = completion.totals["skipped"]
        self.text_tokens = completion.totals["tokens"]
        self._location = location
        self._completion = completion
        self._layouts = sharded_layouts(manifest)

    def __str__(self) -> str:
        return str(self._location)

    def __len__(self) -> int:
        return self.pairs

    @property
    def content_blake3(self) -> str:
        """BLAKE3 of the ledger, which has the hash of every file: tells this cache from another of its manifest."""
        return self._completion.files[LEDGER_FILE].blake3

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
        captions = self._layouts["text/pooled"].shape[0]
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

    def pair_rows(self, pair_indices: Int[np.ndarray, "pair"] | Sequence[int]) -> PairRows:
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

    def _unreplaced(self) -> AbstractContextManager[None]:
        return replacement_is_told(self._location, self.manifest, self._completion)

    @functools.cached_property
    def _caption_positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`text/starts` and `text/lengths`. Raises CacheFormatError if a caption has tokens that no row is of."""
        captions, tokens = (self._layouts[f"text/{name}"].shape[0] for name in ("pooled", "tokens"))
        recorded = self._completion.files
        with self._unreplaced():
            starts, lengths = (
                read_values(self._location / file, recorded.get(file), captions, np.dtype("<i8"))
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


def read_values(
    file: Location, expected: WrittenFile | None, length: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The values of an array of one chunk, one row after another, from its file.

    Raises:
        CacheCorruptError: the file is missing, or is not the `expected` one.
        CacheAccessError: it cannot be read.
    """
    try:
        content = read_whole(file, length * dtype.itemsize + CHECKSUM_BYTES)
        values = chunk_values(content, length, dtype)
    except OSError as error:
        raise unreadable(file, error) from None
    except ValueError:
        raise CacheCorruptError(
            f"{file}: truncated or fails its CRC32C; restore it or encode again"
        ) from None
    if content_written(content) != expected:
        raise CacheCorruptError(
            f"{file}: is whole, but not the file that was written; restore it or encode again"
        )
    return values


def _within(numbers: NDArray[np.int64], first: int, end: int) -> bool:
    return len(numbers) == 0 or bool(first <= numbers.min() and numbers.max() < end)


@contextmanager
def replacement_is_told(location: Location, manifest: Manifest, completion: Completion) -> Iterator[None]:
    """If what is done here finds a damaged or missing file, tell whether that is because the cache was replaced."""
    try:
        yield
    except CacheCorruptError:
        refuse_replaced(location, manifest, completion)
        raise
