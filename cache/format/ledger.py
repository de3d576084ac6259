"""The ledger: one record for each committed shard, which is what makes the shard part of the cache."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cache.errors import CacheCorruptError, unreadable
from cache.files.durable import WrittenFile, write_durably
from cache.files.location import Location, read_document
from cache.format.layout import CHECKSUM_BYTES, LEDGER_FILE, LEDGER_FOLDER, sharded_layouts
from cache.format.ledger_values import check_values
from cache.format.manifest import Manifest, canonical_sha256
from cache.format.parquet import read_parquet, write_parquet
from cache.format.root import TOTALS, Completion
from cache.format.samples import used_rows
from cache.format.statistics import SideStatistics, merge_all

_FILE = pa.struct(
    [("path", pa.string()), ("bytes", pa.int64()), ("blake3", pa.string()), ("crc32c", pa.binary())]
)
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
"""Columns of ledger.parquet, one row per shard; a record under `ledger/` is much the same as a JSON object."""

_COUNTS = LEDGER_SCHEMA.names[:7]


@dataclass(frozen=True)
class ShardFile:
    """A file of a shard as it was written.

    Attributes:
        written: its size and hash.
        crc32c: of each of its chunks in order, as uint32, little-endian: what must stand in which place.
    """

    written: WrittenFile
    crc32c: bytes


@dataclass(frozen=True, eq=False)
class ShardRecord:
    """What was committed as one shard.

    Attributes:
        shard: number of the shard.
        manifest_sha256: identity of the cache it belongs to.
        images, captions, tokens: image rows, caption rows and valid text tokens of the shard.
        pairs, skipped: rows of samples that are a pair, and those that are not.
        files: the shard's file of each large array by its path inside the cache.
        vision, text: statistics of the shard's tokens.
        samples: the file of the shard's samples; None once the cache is finished.
    """

    shard: int
    manifest_sha256: str
    images: int
    captions: int
    tokens: int
    pairs: int
    skipped: int
    files: dict[str, ShardFile]
    vision: SideStatistics
    text: SideStatistics
    samples: WrittenFile | None = None

    def row(self) -> dict[str, Any]:
        """The row of `LEDGER_SCHEMA`."""
        return {
            **self._counts(),
            "files": [
                {"path": path, **asdict(file.written), "crc32c": file.crc32c}
                for path, file in sorted(self.files.items())
            ],
            "vision": self.vision.to_json(),
            "text": self.text.to_json(),
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "ShardRecord":
        """The inverse of `row`."""
        return cls(
            **{name: row[name] for name in _COUNTS},
            files={
                file["path"]: ShardFile(WrittenFile(file["bytes"], file["blake3"]), file["crc32c"])
                for file in row["files"]
            },
            vision=SideStatistics.from_json(row["vision"]),
            text=SideStatistics.from_json(row["text"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The content of the record's own file: plain JSON values, and their SHA-256."""
        values = {**self.row(), "files": self._files(), "samples": self.samples and asdict(self.samples)}
        return {**values, "record_sha256": canonical_sha256(values)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ShardRecord":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError if `values` are something else."""
        content = {name: value for name, value in values.items() if name != "record_sha256"}
        if values["record_sha256"] != canonical_sha256(content):
            raise ValueError("fails its SHA-256")
        files = [{**file, "crc32c": bytes.fromhex(file["crc32c"])} for file in values["files"]]
        if any(len(file["crc32c"]) % CHECKSUM_BYTES for file in files):
            raise ValueError("a crc32c is no list of checksums")
        samples = WrittenFile(**values["samples"])
        return replace(cls.of_row({**values, "files": files}), samples=samples)

    @property
    def content_sha256(self) -> str:
        """SHA-256 of all that the shard's files and samples imply to the bit: everything but means and norms.

        Those are sums, whose last digit depends on the processor.
        """
        overflow = [self.vision.overflow, self.text.overflow]
        return canonical_sha256({**self._counts(), "files": self._files(), "overflow": overflow})

    def _counts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COUNTS}

    def _files(self) -> list[dict[str, Any]]:
        return [
            {"path": path, **asdict(file.written), "crc32c": file.crc32c.hex()}
            for path, file in sorted(self.files.items())
        ]


def shard_record(
    manifest: Manifest,
    shard: int,
    samples: pa.Table,
    files: dict[str, ShardFile],
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


def read_record(folder: Path, manifest: Manifest, shard: int) -> ShardRecord | None:
    """The record of a shard of an unfinished cache; None if there is none, so that the shard is not committed.

    Raises:
        CacheCorruptError: there is something else: a damaged record, or that of another shard or cache.
        CacheAccessError: it cannot be read.
    """
    file = record_path(folder, shard)
    try:
        record = ShardRecord.from_json(read_document(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CacheCorruptError(f"{file}: is not the record that was written") from None
    if (record.shard, record.manifest_sha256) != (shard, manifest.sha256):
        raise CacheCorruptError(f"{file}: is the record of another shard or of another cache")
    if record.files.keys() != {layout.shard_file(shard) for layout in sharded_layouts(manifest).values()}:
        raise CacheCorruptError(f"{file}: does not list exactly the files of the shard")
    return record


def write_ledger(path: Path, records: Iterable[ShardRecord]) -> WrittenFile:
    """Write the records as one Parquet file, a row group for each shard, without their samples, which it outlives."""
    rows = (pa.Table.from_pylist([record.row()], schema=LEDGER_SCHEMA) for record in records)
    return write_parquet(path, LEDGER_SCHEMA, rows, extremes=False)


def completed(records: Iterable[ShardRecord], files: Mapping[str, WrittenFile]) -> Completion:
    """What the group document says of a cache with the records of all its shards, ascending, and these `files`."""
    records = list(records)
    totals = {name: sum(getattr(record, name) for record in records) for name in TOTALS}
    return Completion(totals, dict(sorted(files.items())), tuple(record.content_sha256 for record in records))


def read_ledger(folder: Location, completion: Completion, columns: list[str]) -> pa.Table:
    """Some columns of a complete cache's ledger, one row for each shard.

    Raises:
        CacheCorruptError: the ledger cannot be read.
        CacheFormatError: it holds what no ledger can hold.
    """
    path = folder / LEDGER_FILE
    table = read_parquet(path, LEDGER_SCHEMA, columns, completion.files.get(LEDGER_FILE))
    check_values(table, path)
    return table


def read_records(folder: Location, completion: Completion) -> list[ShardRecord]:
    """The records of a complete cache's shards, ascending.

    Raises:
        CacheCorruptError, CacheFormatError: as `read_ledger`.
    """
    table = read_ledger(folder, completion, LEDGER_SCHEMA.names)
    return [ShardRecord.of_row(row) for batch in table.to_batches() for row in batch.to_pylist()]


def read_statistics(folder: Location, side: str, completion: Completion) -> SideStatistics:
    """Statistics of one side, "vision" or "text", merged exactly over the shards of a complete cache.

    Raises:
        CacheCorruptError, CacheFormatError: as `read_ledger`.
    """
    records = read_ledger(folder, completion, [side])[side]
    return merge_all(
        SideStatistics(
            count=record["count"].as_py(),
            **{name: record[name].values.to_numpy() for name in _STATISTICS_ARRAYS},
            overflow=record["overflow"].as_py(),
        )
        for record in records
    )
