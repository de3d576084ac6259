"""Parquet files with page checksums, written whole or not at all."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import CacheCorruptError, unreadable
from cache.files.durable import DurableFile, WrittenFile, file_written
from cache.files.location import Location, file_size, on_disk
from cache.shown import shown_text, shown_value

_BUFFER_BYTES = 1 << 20
_REMEDY = "restore it or encode again"

_UNPACKED_BYTES = 64 << 20
_UNPACKED_TIMES = 256
"""A table may take so many bytes in memory, and so many times those of its file."""

_BATCH_ROWS = 1 << 16


def write_parquet(
    path: Path, schema: pa.Schema, tables: Iterable[pa.Table], *, extremes: bool = True
) -> WrittenFile:
    """Write tables of `schema` durably as one file, a row group each; it holds no clock.

    Args:
        path: where the file goes.
        schema: of every table.
        tables: one for each row group.
        extremes: keep the smallest and the largest value of each column, which of long values takes more than these.
    """
    options = {"compression": "zstd", "write_page_checksum": True, "write_statistics": extremes}
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
    if expected is None:
        raise CacheCorruptError(f"{path}: its size and BLAKE3 are not recorded; {_REMEDY}")
    with _opened(path, schema, expected.bytes, expected) as file:
        return _read(file, path, expected.bytes, range(file.num_row_groups), columns or schema.names)


def read_row_groups(
    path: Location, schema: pa.Schema, groups: Iterable[int], size: int | None = None
) -> Iterator[pa.Table]:
    """Read row groups, as `write_parquet` made one of each table, with one of them in memory at a time.

    They are compared with the checksums of their pages and not with that of the file, which may be damaged elsewhere.

    Args:
        path: of the file.
        schema: its columns.
        groups: numbers of row groups.
        size: recorded bytes of the file; None, for a file on disk only, if whatever it has is right.

    Raises:
        CacheCorruptError: the file is missing, truncated, or of another schema, or a row group is damaged.
    """
    if size is None:
        try:
            size = file_size(path)
        except OSError as error:
            raise unreadable(path, error) from None
    with _opened(path, schema, size) as file:
        for group in groups:
            if group >= file.num_row_groups:
                raise CacheCorruptError(
                    f"{path}: has {file.num_row_groups} row groups, not {group + 1}; {_REMEDY}"
                )
            yield _read(file, path, size, [group], schema.names)


def _read(
    file: pq.ParquetFile, path: Location, size: int, groups: Iterable[int], columns: list[str]
) -> pa.Table:
    batches = list(row_group_batches(file, path, size, groups, columns))
    table = pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()
    return table.select(columns)


def row_group_batches(
    file: pq.ParquetFile, path: Location, size: int, groups: Iterable[int], columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """Read some row groups in batches, so that what a few bytes unpack to is noticed before it fills the memory.

    Args:
        file: opened; `path` is its name for messages, and `size` its bytes.
        groups: numbers of row groups.
        columns: names of those to read.

    Raises:
        CacheCorruptError: they unpack to more than a table of a cache does.
        ArrowException: they are damaged.
    """
    limit = _UNPACKED_BYTES + _UNPACKED_TIMES * size
    unpacked = 0
    for group in groups:
        metadata = file.metadata.row_group(group)
        chunks = [metadata.column(index) for index in range(metadata.num_columns)]
        largest = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
        if metadata.num_rows * len(columns) > limit or metadata.total_byte_size > limit:
            raise _bomb(path, size, limit)
        rows = min(_BATCH_ROWS, max(1, limit // max(1, largest)))
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
            unpacked += batch.nbytes
            if unpacked > limit:
                raise _bomb(path, size, limit)
            batch.validate(full=True)  # text that is not UTF-8 would be found by whoever looks at it first
            yield batch


def _bomb(path: Location, size: int, limit: int) -> CacheCorruptError:
    return CacheCorruptError(
        f"{path}: its {size} bytes unpack to more than {limit}, as no table of a cache does"
    )


@contextmanager
def _opened(
    path: Location, schema: pa.Schema, size: int, expected: WrittenFile | None = None
) -> Iterator[pq.ParquetFile]:
    """Open a file of `size` bytes after comparing it with what is `expected`, if that is given."""
    try:
        with on_disk(path, size) as copy:
            if expected is not None and file_written(copy) != expected:
                raise CacheCorruptError(f"{path}: its BLAKE3 differs from the one recorded; {_REMEDY}")
            file = pq.ParquetFile(copy, page_checksum_verification=True)
            if any(field not in file.schema_arrow for field in schema):
                found = shown_value(file.schema_arrow.names)
                raise CacheCorruptError(f"{path}: its columns are {found}, not {schema.names}")
            yield file
    except OSError as error:
        raise unreadable(path, error) from None
    except (pa.ArrowException, ValueError) as error:
        raise CacheCorruptError(f"{path}: cannot be read ({shown_text(error)}); {_REMEDY}") from None
