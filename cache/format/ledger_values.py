"""What every row of a ledger has to hold, whoever wrote it, so that its readers can compute with it."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cache.errors import CacheFormatError
from cache.format.layout import CHECKSUM_BYTES

_LARGEST_MEAN = float(np.finfo(np.float32).max)
_LARGEST_COUNT = 1 << 53
"""Exact in float64, in which counts are weights."""


def check_values(table: pa.Table, where: object) -> None:
    """Check some or all columns of a ledger.

    Args:
        table: columns of `LEDGER_SCHEMA`.
        where: the file, for messages.

    Raises:
        CacheFormatError: a value is missing, a list of checksums is none, or the statistics of a side are impossible.
    """
    for name in table.column_names:
        column = table[name].combine_chunks()
        if _lacks_a_value(column):
            raise CacheFormatError(f"{where}: a value of {name} is missing; restore the file or encode again")
        if name == "files" and not _are_checksums(column.flatten().field("crc32c")):
            raise CacheFormatError(
                f"{where}: a crc32c is no list of checksums; restore the file or encode again"
            )
        if pa.types.is_struct(column.type) and not _are_statistics(column):
            raise CacheFormatError(
                f"{where}: the statistics of {name} contradict each other; restore the file or encode again"
            )


def _lacks_a_value(array: pa.Array) -> bool:
    if array.null_count:
        return True
    if pa.types.is_struct(array.type):
        return any(map(_lacks_a_value, array.flatten()))
    return bool(pa.types.is_list(array.type)) and _lacks_a_value(array.flatten())


def _are_checksums(crc32c: pa.BinaryArray) -> bool:
    """Whether each is of whole unsigned 32-bit integers."""
    return not np.any(pc.binary_length(crc32c).to_numpy(zero_copy_only=False) % CHECKSUM_BYTES)


def _are_statistics(rows: pa.StructArray) -> bool:
    """Whether rows of one side's statistics, none of them null, can be merged."""
    count, overflow = rows.field("count").to_numpy(), rows.field("overflow").to_numpy()
    mean, deviation, bins, counts = (
        rows.field(name) for name in ("mean", "squared_deviation", "norm_bins", "norm_counts")
    )
    tokens = _values(counts)
    return (
        _within(count, 0, _LARGEST_COUNT)
        and _within(overflow, 0, _LARGEST_COUNT)
        and _within(tokens, 0, _LARGEST_COUNT)
        and _within(_values(mean), -_LARGEST_MEAN, _LARGEST_MEAN)
        and _within(_values(deviation), 0, float(np.finfo(np.float64).max))
        and _within(_values(bins), 0, 1 << 18)  # 32 bits without the last 14
        and len(set(_lengths(mean)) | set(_lengths(deviation))) <= 1
        and _lengths(bins) == _lengths(counts)
        and np.array_equal(np.bincount(pc.list_parent_indices(counts), tokens, len(count)), count)
    )


def _values(lists: pa.ListArray) -> NDArray[np.int64] | NDArray[np.float64]:
    values: NDArray[np.int64] | NDArray[np.float64] = lists.flatten().to_numpy()
    return values


def _lengths(lists: pa.ListArray) -> list[int]:
    lengths: list[int] = pc.list_value_length(lists).to_pylist()
    return lengths


def _within(values: NDArray[np.int64] | NDArray[np.float64], smallest: float, largest: float) -> bool:
    return bool(np.all((values >= smallest) & (values <= largest)))
