"""Parquet files with page checksums, written whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache.durable import DurableFile, WrittenFile
from cache.errors import CacheCorruptError


def write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> WrittenFile:
    """Write tables of `schema` durably as one file, a row group each; it holds no clock."""
    options = {"compression": "zstd", "write_page_checksum": True}
    with DurableFile(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, len(table)))
    return file.written


def read_parquet(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a file of `schema`, or some of its columns, with page checksums verified.

    Raises:
        CacheCorruptError: the file is missing, truncated, of another schema, or fails a checksum.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if not file.schema_arrow.equals(schema):
            raise CacheCorruptError(f"{path}: its columns are {file.schema_arrow.names}, not {schema.names}")
        return file.read(columns)
    except (OSError, pa.ArrowException) as error:
        raise CacheCorruptError(f"{path}: cannot be read ({error}); restore it or encode again") from None
