"""Which pairs a damaged part of a shard touches."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cache.files.regular_file import regular_size
from cache.format.layout import SAMPLES_FILE, ShardedLayout
from cache.format.ledger import ShardRecord, shard_samples_name

TOUCHED_COLUMNS = ["pair", "image_row", "caption_row", "image_id", "tokens"]
"""Columns of a shard's samples that say which rows of the arrays are whose."""

_NAMED_IMAGES = 5
"""How many image ids a message names."""


@dataclass(frozen=True)
class TouchedPairs:
    """Some pairs of one shard.

    Attributes:
        count: how many they are.
        first, last: the smallest and the largest of their numbers; None without pairs, or while they have no numbers.
        image_ids: ids of their images and of skipped images, ascending; empty if samples.parquet cannot be read.
    """

    count: int
    first: int | None
    last: int | None
    image_ids: tuple[int, ...]

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """Those in `rows` of a shard's samples with at least `TOUCHED_COLUMNS`."""
        count = int(np.count_nonzero(rows["tokens"].fill_null(0)))  # a row has tokens exactly if it is a pair
        pairs = rows["pair"].drop_null().to_numpy()
        first, last = (int(pairs[0]), int(pairs[-1])) if len(pairs) else (None, None)
        return cls(count, first, last, tuple(np.unique(rows["image_id"].to_numpy()).tolist()))

    def __str__(self) -> str:
        numbers = f" ({self.first} to {self.last})" if self.first is not None else ""
        named = ", ".join(map(str, self.image_ids[:_NAMED_IMAGES]))
        more = (
            f" and {len(self.image_ids) - _NAMED_IMAGES} more" if len(self.image_ids) > _NAMED_IMAGES else ""
        )
        return f"{self.count} pairs{numbers}" + (f", image ids {named}{more}" if named else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "count": self.count,
            "first": self.first,
            "last": self.last,
            "image_ids": list(self.image_ids),
        }


class PairLocator:
    """Finds the pairs that belong to a part of a shard, from whatever of samples and ledger can be read."""

    def __init__(self, path: Path, records: Mapping[int, ShardRecord], *, complete: bool) -> None:
        """Locate pairs of the cache at `path`, of whose ledger `records` are known."""
        self._path = path
        self._records = records
        self._complete = complete

    def touched(
        self, shard: int, layout: ShardedLayout | None = None, chunks: tuple[int, ...] | None = None
    ) -> TouchedPairs | None:
        """The pairs that damaged chunks of one file of a shard hold; None if nothing tells.

        Args:
            shard: number of the shard.
            layout: of the array that the file belongs to; None for all pairs of the shard.
            chunks: damaged inner chunks, numbered within the shard; None for all.
        """
        try:
            samples = self._samples(shard)
        except (OSError, pa.ArrowException, ValueError):
            return self._by_count(shard)
        if layout is None or chunks is None:
            return TouchedPairs.of(samples)
        return TouchedPairs.of(_touched_rows(samples, layout, shard, chunks))

    def _samples(self, shard: int) -> pa.Table:
        name = SAMPLES_FILE if self._complete else shard_samples_name(shard)
        regular_size(self._path / name)  # or opening it may wait for ever
        with pq.ParquetFile(self._path / name, page_checksum_verification=True) as file:
            return file.read_row_group(shard if self._complete else 0, TOUCHED_COLUMNS)

    def _by_count(self, shard: int) -> TouchedPairs | None:
        """All pairs of the shard, by what the ledger says of it and of those before it."""
        if not all(before in self._records for before in range(shard + 1)):
            return None
        first = sum(self._records[before].pairs for before in range(shard))
        count = self._records[shard].pairs
        return TouchedPairs(count, first, first + count - 1, ()) if count else TouchedPairs(0, None, None, ())


def _touched_rows(samples: pa.Table, layout: ShardedLayout, shard: int, chunks: tuple[int, ...]) -> pa.Table:
    """The rows of a shard's samples, `TOUCHED_COLUMNS`, that chunks of one of its files hold."""
    axis = layout.dimensions[0]
    if axis == "shard":
        return samples
    damaged = np.zeros(layout.shard_chunks + 1, np.int64)
    damaged[1:][list(chunks)] = 1
    before = np.cumsum(damaged)  # damaged chunks before each chunk
    starts, lengths = _rows_in_shard(samples, axis, shard * layout.shard_rows)
    first, end = starts // layout.chunk_rows, -(-(starts + lengths) // layout.chunk_rows)
    return samples.filter(pa.array((lengths > 0) & (before[end] > before[first])))


def _rows_in_shard(samples: pa.Table, axis: str, offset: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row of samples, which rows of the shard are its own along `axis`: the first, and how many."""
    if axis == "token":
        lengths = samples["tokens"].fill_null(0).to_numpy()
        return np.cumsum(lengths) - lengths, lengths
    numbers = samples[f"{axis}_row"]
    present = numbers.is_valid().to_numpy(zero_copy_only=False)
    return np.where(present, numbers.fill_null(0).to_numpy() - offset, 0), present.astype(np.int64)
