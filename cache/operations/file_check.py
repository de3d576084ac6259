"""Checking one file of a cache: is it the one that was written, and if not, how far does the damage reach."""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import CacheCorruptError
from cache.files.durable import WrittenFile, file_written, is_as_written
from cache.files.regular_file import UnfitFileError, regular_file, regular_size
from cache.format.layout import CHECKSUM_BYTES, ShardedLayout
from cache.format.ledger import ShardFile
from cache.format.parquet import row_group_batches
from cache.format.shard_index import chunk_offsets


@dataclass(frozen=True)
class Damage:
    """What is wrong with one file.

    Attributes:
        problem: what to say after the file's name.
        parts: the damaged inner chunks of a shard file, or row groups of a Parquet file, numbered from 0; None if
            nothing in the file can be trusted.
    """

    problem: str
    parts: tuple[int, ...] | None = None


def check_shard_file(file: Path, layout: ShardedLayout, expected: ShardFile | None) -> Damage | None:
    """Compare a shard file with what was recorded when it was written; None if it is that very file.

    The file is hashed in small blocks; only if that fails are its chunks read, one by one, and their checksums
    consulted. So no more than one chunk is in memory.

    Args:
        file: where the shard file is.
        layout: of its array.
        expected: what the ledger has of it; None if that is unknown, then only the checksums in the file count.
    """
    try:
        size = regular_size(file)
        if expected is not None and size != expected.written.bytes:
            return Damage(f"has {size} bytes, {expected.written.bytes} were written")
        if expected is not None and is_as_written(file, expected.written):
            return None
        stored = read_chunk_checksums(file, layout)
    except ValueError as error:
        return Damage(str(error))
    except OSError as error:
        return _unreadable(error)
    return _chunk_damage(stored, expected)


def check_parquet_file(
    file: Path, schema: pa.Schema, row_groups: int, expected: WrittenFile | None
) -> Damage | None:
    """Compare a Parquet file with what was recorded when it was written; None if it is that very file.

    Args:
        file: where it is.
        schema: its columns.
        row_groups: how many it has, one for each shard; one of them is in memory at a time.
        expected: recorded size and hash; None if they are unknown, then only the page checksums count.
    """
    try:
        regular_size(file)  # or opening it may wait for ever
        if expected is not None and is_as_written(file, expected):
            return None
        damaged = _damaged_row_groups(file, schema, row_groups)
        if damaged is None:
            return Damage("is not readable as Parquet with these columns and row groups")
        if damaged:
            return Damage(f"fails the page checksums of {len(damaged)} of its row groups", damaged)
        return None if expected is None else _another_file(file_written(file), expected)
    except OSError as error:
        return _unreadable(error)


def read_chunk_checksums(file: Path, layout: ShardedLayout) -> list[int | None]:
    """The CRC32C of every chunk of a shard file, None for one that fails it, with one chunk at a time in memory.

    Raises:
        ValueError: its index is damaged; says how.
        OSError: it cannot be read.
    """
    with regular_file(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        index = os.pread(opened.fileno(), layout.index_bytes, max(0, size - layout.index_bytes))
        return [
            _checksum(os.pread(opened.fileno(), end - start, start))
            for start, end in pairwise(chunk_offsets(index, layout).tolist())
        ]


def _chunk_damage(stored: list[int | None], expected: ShardFile | None) -> Damage | None:
    """What is wrong with a shard file of another hash than expected, by the CRC32C of each of its chunks."""
    if damaged := tuple(chunk for chunk, checksum in enumerate(stored) if checksum is None):
        return Damage(f"fails the CRC32C of {len(damaged)} of its chunks", damaged)
    if expected is None:
        return None
    right = np.frombuffer(expected.crc32c, "<u4").tolist()
    others = tuple(np.flatnonzero(np.array(stored) != right).tolist()) if len(stored) == len(right) else ()
    return Damage(
        f"is whole, but not the file that was written: {len(others)} of its chunks belong elsewhere",
        others or None,
    )


def _checksum(chunk: bytes) -> int | None:
    """The last four bytes if they are the CRC32C of those before them."""
    checksum = int.from_bytes(chunk[-CHECKSUM_BYTES:], "little")
    return checksum if google_crc32c.value(chunk[:-CHECKSUM_BYTES]) == checksum else None


def _damaged_row_groups(file: Path, schema: pa.Schema, row_groups: int) -> tuple[int, ...] | None:
    """Numbers of the row groups that cannot be read; None if there is no reading the file as a whole."""
    try:
        opened = pq.ParquetFile(file, page_checksum_verification=True)
        if opened.num_row_groups != row_groups or any(field not in opened.schema_arrow for field in schema):
            return None
    except (pa.ArrowException, OSError, ValueError):
        return None
    size = regular_size(file)
    return tuple(group for group in range(row_groups) if not _is_readable(opened, file, size, group))


def _is_readable(opened: pq.ParquetFile, file: Path, size: int, row_group: int) -> bool:
    try:
        for _ in row_group_batches(opened, file, size, [row_group], opened.schema_arrow.names):
            pass
    except (CacheCorruptError, pa.ArrowException, OSError, ValueError):
        return False
    return True


def _another_file(written: WrittenFile, expected: WrittenFile) -> Damage:
    """What to say of a file all of whose checksums hold."""
    return Damage(
        f"is whole, but not the file that was written: its BLAKE3 is {written.blake3}, not {expected.blake3}"
    )


def _unreadable(error: OSError) -> Damage:
    if isinstance(error, FileNotFoundError):
        return Damage("is missing")
    return Damage(
        str(error.strerror) if isinstance(error, UnfitFileError) else f"cannot be read ({error.strerror})"
    )
