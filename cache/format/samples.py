"""samples.parquet: one row per image and caption, with everything about a pair that is not a tensor."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cache.errors import ShardContentError
from cache.files.durable import WrittenFile
from cache.files.location import Location
from cache.format.parquet import read_parquet, read_row_groups, write_parquet

_OBJECT = pa.struct(
    [
        pa.field("category", pa.string()),
        pa.field("box", pa.list_(pa.float64())),  # x, y, width, height in pixels
        pa.field("segmentation", pa.string()),  # COCO JSON, "" if there is none
        pa.field("concepts", pa.list_(pa.string())),
    ]
)

SAMPLES_SCHEMA = pa.schema(
    [
        pa.field("pair", pa.int64()),  # null when the row was skipped; filled in by the writer
        pa.field("image_row", pa.int64(), nullable=False),
        pa.field("caption_row", pa.int64()),  # null when the image has no caption; filled in by the writer
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("caption_id", pa.int64()),  # null when the image has no caption
        pa.field("file", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("categories", pa.list_(pa.string())),
        pa.field("objects", pa.list_(_OBJECT)),
        pa.field("image_concepts", pa.list_(pa.string())),  # null without ground truth
        pa.field("caption_concepts", pa.list_(pa.string())),
        pa.field("split", pa.string()),
        pa.field("skip_reason", pa.string()),  # null when the row is a pair
        pa.field("tokens", pa.int64()),  # valid text tokens of the caption; filled in by the writer
    ]
)
"""Columns of samples.parquet. Rows are sorted by image row, captions of an image in their given order."""

_FILLED_IN = {"pair", "caption_row", "tokens"}


def shard_samples(
    samples: pa.Table, images: range, captions: range, lengths: NDArray[np.int64], where: str
) -> pa.Table:
    """Check the samples of one shard and fill in `caption_row` and `tokens`; `pair` stays null until the end.

    Args:
        samples: a table with the columns of `SAMPLES_SCHEMA`; those that the writer fills in may be left out.
        images: image rows of the shard; each has at least one row in `samples`.
        captions: caption rows of the shard, in the order of the rows that have a caption id.
        lengths: int64 [caption], valid tokens of each caption: none exactly for skipped ones.
        where: what to call the shard in messages.

    Raises:
        ShardContentError: a column, an image or a caption is missing or out of order.
    """
    table = _with_schema(samples, where)
    rows = table["image_row"].to_numpy()
    if len(rows) == 0 or np.any(np.diff(rows) < 0) or not np.array_equal(np.unique(rows), np.array(images)):
        raise ShardContentError(
            f"{where}: samples must list image rows {images.start} to {images.stop - 1} in order, each at least once"
        )
    has_caption = pc.is_valid(table["caption_id"]).to_numpy(zero_copy_only=False)
    if not has_caption.sum() == len(captions) == len(lengths):
        raise ShardContentError(
            f"{where}: the manifest announces {len(captions)} captions, samples has {has_caption.sum()} "
            f"and text_lengths {len(lengths)}"
        )
    tokens = np.zeros(len(rows), np.int64)
    tokens[has_caption] = lengths
    _check_skipped(table, tokens, where)
    caption_rows = np.zeros(len(rows), np.int64)
    caption_rows[has_caption] = np.array(captions, np.int64)
    table = _set(table, "caption_row", pa.array(caption_rows, mask=~has_caption))
    return _set(table, "tokens", pa.array(tokens, mask=~has_caption))


def number_pairs(table: pa.Table, first: int) -> pa.Table:
    """Fill in `pair`: used rows are numbered from `first` in row order, skipped ones stay null."""
    skipped = used_rows(table) ^ True
    return _set(table, "pair", pa.array(first - 1 + np.cumsum(~skipped), pa.int64(), mask=skipped))


def used_rows(table: pa.Table) -> NDArray[np.bool_]:
    """Bool [row]: whether a row of samples is a pair, that is, was not skipped."""
    used: NDArray[np.bool_] = pc.is_null(table["skip_reason"]).to_numpy(zero_copy_only=False)
    return used


def write_samples(path: Path, tables: Iterable[pa.Table]) -> WrittenFile:
    """Write tables to one Parquet file, a row group each; it holds no clock, so equal tables give equal bytes."""
    return write_parquet(path, SAMPLES_SCHEMA, tables)


def read_samples(path: Location, expected: WrittenFile | None, columns: list[str] | None = None) -> pa.Table:
    """Read samples.parquet, or some of its columns, checked against the recorded size and hash.

    Raises:
        CacheCorruptError: the file is missing or is not the one that was written.
    """
    return read_parquet(path, SAMPLES_SCHEMA, columns, expected)


def read_shards_of_samples(path: Path, shards: Iterable[int]) -> Iterator[pa.Table]:
    """The rows of single shards in samples.parquet as they were before the cache was finished, `pair` null again.

    Raises:
        CacheCorruptError: the rows of one of the shards are damaged, or the file is not there or not readable.
    """
    for table in read_row_groups(path, SAMPLES_SCHEMA, shards):
        yield _set(table, "pair", pa.nulls(len(table), pa.int64()))


def _with_schema(samples: pa.Table, where: str) -> pa.Table:
    missing = [name for name in SAMPLES_SCHEMA.names if name not in {*samples.column_names, *_FILLED_IN}]
    unknown = [name for name in samples.column_names if name not in SAMPLES_SCHEMA.names]
    if missing or unknown:
        raise ShardContentError(f"{where}: samples lacks columns {missing} and has unknown columns {unknown}")
    columns = [
        pa.nulls(len(samples), field.type) if field.name in _FILLED_IN else samples[field.name]
        for field in SAMPLES_SCHEMA
    ]
    try:
        table = pa.table(columns, names=SAMPLES_SCHEMA.names).cast(SAMPLES_SCHEMA)
    except (pa.ArrowException, ValueError) as error:
        raise ShardContentError(f"{where}: samples do not fit their schema: {error}") from None
    for field in SAMPLES_SCHEMA:
        if not field.nullable and table[field.name].null_count:
            raise ShardContentError(f"{where}: samples column {field.name} has a null, which it may not")
    return table


def _check_skipped(table: pa.Table, tokens: NDArray[np.int64], where: str) -> None:
    used = used_rows(table)
    wrong = np.flatnonzero(used != (tokens > 0))
    if len(wrong):
        row = int(wrong[0])
        image, caption = table["image_id"][row].as_py(), table["caption_id"][row].as_py()
        state = "is used but has no tokens" if used[row] else f"is skipped but has {tokens[row]} tokens"
        raise ShardContentError(
            f"{where}: caption {caption} of image {image} {state}; a row has a skip_reason exactly when it has "
            "no tokens"
        )


def _set(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, table.schema.field(position), column)
