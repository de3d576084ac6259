"""Checking one file of a cache: is it the one that was written, and if not, how far does the damage reach."""

import os
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from cache.files.durable import WrittenFile, file_written
from cache.format.layout import CHECKSUM_BYTES, ShardedLayout
from cache.format.shard_index import ABSENT, chunk_offsets


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


def check_shard_file(file: Path, layout: ShardedLayout, expected: WrittenFile | None) -> Damage | None:
    """Compare a shard file with what was recorded when it was written; None if it is that very file.

    The file is hashed in small blocks; only if that fails are its chunks read, one by one, and their checksums
    consulted. So no more than one chunk is in memory.

    Args:
        file: where the shard file is.
        layout: of its array.
        expected: size and hash from the ledger; None if they are unknown, then only the checksums count.
    """
    try:
        written = file_written(file)
        if written == expected:
            return None
        if expected is not None and written.bytes != expected.bytes:
            return Damage(f"has {written.bytes} bytes, {expected.bytes} were written")
        damaged = _damaged_chunks(file, written.bytes, layout)
    except OSError as error:
        return _unreadable(error)
    if damaged is None:
        return Damage("fails the CRC32C of its index")
    if damaged:
        return Damage(f"fails the CRC32C of {len(damaged)} of its chunks", damaged)
    return _another_file(written, expected)


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
        written = file_written(file)
        if written == expected:
            return None
        damaged = _damaged_row_groups(file, schema, row_groups)
    except OSError as error:
        return _unreadable(error)
    if damaged is None:
        return Damage("is not readable as Parquet with these columns and row groups")
    if damaged:
        return Damage(f"fails the page checksums of {len(damaged)} of its row groups", damaged)
    return _another_file(written, expected)


def _damaged_chunks(file: Path, size: int, layout: ShardedLayout) -> tuple[int, ...] | None:
    """Numbers of the chunks that fail their checksum; None if the index cannot be trusted."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        index = os.pread(descriptor, layout.index_bytes, max(0, size - layout.index_bytes))
        offsets = chunk_offsets(index, layout)
        return tuple(
            chunk
            for chunk, offset in enumerate(offsets)
            if offset != ABSENT
            and not _holds(os.pread(descriptor, layout.chunk_bytes + CHECKSUM_BYTES, offset))
        )
    except ValueError:
        return None
    finally:
        os.close(descriptor)


def _holds(chunk: bytes) -> bool:
    """Whether the last four bytes are the CRC32C of those before them."""
    checksum: int = google_crc32c.value(chunk[:-CHECKSUM_BYTES])
    return checksum == int.from_bytes(chunk[-CHECKSUM_BYTES:], "little")


def _damaged_row_groups(file: Path, schema: pa.Schema, row_groups: int) -> tuple[int, ...] | None:
    """Numbers of the row groups that cannot be read; None if there is no reading the file as a whole."""
    try:
        opened = pq.ParquetFile(file, page_checksum_verification=True)
        if opened.num_row_groups != row_groups or any(field not in opened.schema_arrow for field in schema):
            return None
    except (pa.ArrowException, OSError, ValueError):
        return None
    return tuple(group for group in range(row_groups) if not _is_readable(opened, group))


def _is_readable(file: pq.ParquetFile, row_group: int) -> bool:
    try:
        file.read_row_group(row_group)
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def _another_file(written: WrittenFile, expected: WrittenFile | None) -> Damage | None:
    """What to say of a file all of whose checksums hold."""
    if expected is None:
        return None
    return Damage(
        f"is whole, but not the file that was written: its BLAKE3 is {written.blake3}, not {expected.blake3}"
    )


def _unreadable(error: OSError) -> Damage:
    missing = isinstance(error, FileNotFoundError)
    return Damage("is missing" if missing else f"cannot be read ({error.strerror})")
