"""The ledger: one record for each committed shard, which is what makes the shard part of the cache."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cache.files.durable import WrittenFile, write_durably
from cache.files.location import Location, file_size, read_document
from cache.files.regular_file import UnfitFileError
from cache.format.layout import LEDGER_FILE, LEDGER_FOLDER
from cache.format.manifest import Manifest
from cache.format.parquet import read_parquet, write_parquet
from cache.format.root import Completion
from cache.format.samples import used_rows
from cache.format.statistics import SideStatistics, merge_all

_FILE = pa.struct([("path", pa.string()), ("bytes", pa.int64()), ("blake3", pa.string())])
_STATISTICS = pa.struct(
    [
        ("count", pa.int64()),
        ("mean", pa.list_(pa.float64())),
        ("squared_deviation", pa.list_(pa.float64())),
        ("norm_bins", pa.list_(pa.int64())),
        ("norm_counts", pa.list_(pa.int64())),
        ("overflow", pa.int64()),
    ]
)
_STATISTICS_ARRAYS = ("mean", "squared_deviation", "norm_bins", "norm_counts")

LEDGER_SCHEMA = pa.schema(
    [
        ("shard", pa.int64()),
        ("manifest_sha256", pa.string()),
        ("images", pa.int64()),
        ("captions", pa.int64()),
        ("tokens", pa.int64()),
        ("pairs", pa.int64()),
        ("skipped", pa.int64()),
        ("files", pa.list_(_FILE)),
        ("vision", _STATISTICS),
        ("text", _STATISTICS),
    ]
)
"""Columns of ledger.parquet, one row per shard; a record under `ledger/` is the same as a JSON object."""


@dataclass(frozen=True, eq=False)
class ShardRecord:
    """What was committed as one shard.

    Attributes:
        shard: number of the shard.
        manifest_sha256: identity of the cache it belongs to.
        images, captions, tokens: image rows, caption rows and valid text tokens of the shard.
        pairs, skipped: rows of samples that are a pair, and those that are not.
        files: every file of the shard by its path inside the cache.
        vision, text: statistics of the shard's tokens.
    """

    shard: int
    manifest_sha256: str
    images: int
    captions: int
    tokens: int
    pairs: int
    skipped: int
    files: dict[str, WrittenFile]
    vision: SideStatistics
    text: SideStatistics

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the row of `LEDGER_SCHEMA`."""
        return {
            **{name: getattr(self, name) for name in LEDGER_SCHEMA.names[:7]},
            "files": [{"path": path, **asdict(file)} for path, file in sorted(self.files.items())],
            "vision": self.vision.to_json(),
            "text": self.text.to_json(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ShardRecord":
        """The inverse of `to_json`."""
        return cls(
            **{name: values[name] for name in LEDGER_SCHEMA.names[:7]},
            files={file["path"]: WrittenFile(file["bytes"], file["blake3"]) for file in values["files"]},
            vision=SideStatistics.from_json(values["vision"]),
            text=SideStatistics.from_json(values["text"]),
        )

    def has_its_files(self, folder: Path) -> bool:
        """Whether all files of the shard are there with their recorded size."""
        return all(file_problem(folder, path, file.bytes) is None for path, file in self.files.items())


def shard_record(
    manifest: Manifest,
    shard: int,
    samples: pa.Table,
    files: dict[str, WrittenFile],
    vision: SideStatistics,
    text: SideStatistics,
) -> ShardRecord:
    """The record of a shard, its counts taken from the manifest and from its `samples`."""
    used = used_rows(samples)
    return ShardRecord(
        shard=shard,
        manifest_sha256=manifest.sha256,
        images=len(manifest.image_range(shard)),
        captions=manifest.shard_captions[shard],
        tokens=int(np.sum(samples["tokens"].fill_null(0))),
        pairs=int(used.sum()),
        skipped=int((~used).sum()),
        files=files,
        vision=vision,
        text=text,
    )


def record_path(folder: Path, shard: int) -> Path:
    """Where the record of a shard lies until the cache is finished."""
    return folder / LEDGER_FOLDER / f"{shard:06d}.json"


def shard_samples_name(shard: int) -> str:
    """Path inside the cache of a shard's samples until the cache is finished."""
    return f"{LEDGER_FOLDER}/{shard:06d}.samples.parquet"


def commit(folder: Path, record: ShardRecord) -> None:
    """Make a shard part of the cache: one atomic step, after all its files are durable."""
    write_durably(record_path(folder, record.shard), json.dumps(record.to_json()).encode())


def read_record(path: Path) -> ShardRecord | None:
    """The record in a file of the `ledger` folder; None if there is none, or not a whole one."""
    try:
        return ShardRecord.from_json(read_document(path))
    except (FileNotFoundError, UnfitFileError, ValueError, KeyError, TypeError, OverflowError):
        return None


def write_ledger(path: Path, records: Iterable[ShardRecord]) -> WrittenFile:
    """Write the records as one Parquet file, a row group for each shard, without the files that it replaces."""

    def row(record: ShardRecord) -> pa.Table:
        lasting = {name: file for name, file in record.files.items() if not name.startswith(LEDGER_FOLDER)}
        return pa.Table.from_pylist([replace(record, files=lasting).to_json()], schema=LEDGER_SCHEMA)

    return write_parquet(path, LEDGER_SCHEMA, map(row, records))


def read_records(folder: Location, completion: Completion) -> list[ShardRecord]:
    """The records of a complete cache's shards, ascending, without the files that only an unfinished cache has.

    Raises:
        CacheCorruptError: the ledger cannot be read.
    """
    path = folder / LEDGER_FILE
    table = read_parquet(path, LEDGER_SCHEMA, None, completion.files.get(LEDGER_FILE))
    return [ShardRecord.from_json(row) for batch in table.to_batches() for row in batch.to_pylist()]


def read_statistics(folder: Location, side: str, completion: Completion) -> SideStatistics:
    """Statistics of one side, "vision" or "text", merged exactly over the shards of a complete cache.

    Raises:
        CacheCorruptError: the ledger cannot be read.
    """
    path = folder / LEDGER_FILE
    records = read_parquet(path, LEDGER_SCHEMA, [side], completion.files.get(LEDGER_FILE))[side]
    return merge_all(
        SideStatistics(
            count=record["count"].as_py(),
            **{name: record[name].values.to_numpy() for name in _STATISTICS_ARRAYS},
            overflow=record["overflow"].as_py(),
        )
        for record in records
    )


def file_problem(folder: Path, path: str, size: int) -> str | None:
    """Why the file `path` of the cache is not there with `size` bytes; None if it is."""
    try:
        found = file_size(folder / path)
    except OSError as error:
        return f"{path} is missing ({error.strerror})"
    return None if found == size else f"{path} has {found} bytes, {size} were written"
