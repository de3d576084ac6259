"""Parquet files with page checksums, written whole or not at all."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import CacheCorruptError, unreadable
from cache.files.durable import DurableFile, WrittenFile, file_written
from cache.files.location import Location, on_disk

_BUFFER_BYTES = 1 << 20
_REMEDY = "restore it or encode again"


def write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> WrittenFile:
    """Write tables of `schema` durably as one file, a row group each; it holds no clock."""
    options = {"compression": "zstd", "write_page_checksum": True}
    with (
        DurableFile(path) as file,
        io.BufferedWriter(file, _BUFFER_BYTES) as buffer,  # Arrow writes in pieces of a few bytes
        pq.ParquetWriter(buffer, schema, **options) as writer,
    ):
        for table in tables:
            writer.write_table(table, row_group_size=max(1, len(table)))
    return file.written


def read_parquet(
    path: Location, schema: pa.Schema, columns: list[str] | None, expected: WrittenFile | None
) -> pa.Table:
    """Read the columns of `schema`, or some of them, and check it against the hash recorded when it was written.

    Raises:
        CacheCorruptError: the file is missing, truncated, of another schema, or changed since.
        CacheAccessError: the file cannot be read.
    """
    with _opened(path, schema, expected) as file:
        return file.read(columns or schema.names)


def read_row_groups(path: Location, schema: pa.Schema, groups: Iterable[int]) -> Iterator[pa.Table]:
    """Read row groups, as `write_parquet` made one of each table, with one of them in memory at a time.

    They are compared with the checksums of their pages and not with that of the file, which may be damaged elsewhere.

    Raises:
        CacheCorruptError: the file is missing, truncated, or of another schema, or a row group is damaged.
    """
    with _opened(path, schema) as file:
        for group in groups:
            yield file.read_row_group(group, schema.names)


@contextmanager
def _opened(path: Location, schema: pa.Schema, *expected: WrittenFile | None) -> Iterator[pq.ParquetFile]:
    """Open a file after comparing it with what is `expected`, if that is given at all; None is never right."""
    try:
        with on_disk(path) as copy:
            if expected and file_written(copy) not in expected:
                raise CacheCorruptError(
                    f"{path}: its size or BLAKE3 differs from the one recorded; {_REMEDY}"
                )
            file = pq.ParquetFile(copy, page_checksum_verification=True)
            if any(field not in file.schema_arrow for field in schema):
                raise CacheCorruptError(
                    f"{path}: its columns are {file.schema_arrow.names}, not {schema.names}"
                )
            yield file
    except OSError as error:
        raise unreadable(path, error) from None
    except pa.ArrowException as error:
        raise CacheCorruptError(f"{path}: cannot be read ({error}); {_REMEDY}") from None
