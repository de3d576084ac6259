"""Parquet files with page checksums, written whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache.durable import DurableFile, WrittenFile, file_written
from cache.errors import CacheCorruptError

_REMEDY = "restore it or encode again"


def write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> WrittenFile:
    """Write tables of `schema` durably as one file, a row group each; it holds no clock."""
    options = {"compression": "zstd", "write_page_checksum": True}
    with DurableFile(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, len(table)))
    return file.written


def read_parquet(
    path: Path, schema: pa.Schema, columns: list[str] | None, expected: WrittenFile | None
) -> pa.Table:
    """Read the columns of `schema`, or some of them, and check it against the hash recorded when it was written.

    Raises:
        CacheCorruptError: the file is missing, truncated, of another schema, or changed since.
    """
    try:
        if expected is None or file_written(path) != expected:
            raise CacheCorruptError(f"{path}: its size or SHA-256 differs from the one recorded; {_REMEDY}")
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if any(field not in file.schema_arrow for field in schema):
            raise CacheCorruptError(f"{path}: its columns are {file.schema_arrow.names}, not {schema.names}")
        return file.read(columns or schema.names)
    except (OSError, pa.ArrowException) as error:
        raise CacheCorruptError(f"{path}: cannot be read ({error}); {_REMEDY}") from None
