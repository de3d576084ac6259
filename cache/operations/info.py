"""What a cache is, from its metadata alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.errors import CacheCorruptError
from cache.files.location import located
from cache.format.layout import sharded_layouts
from cache.format.ledger import ShardRecord, read_record, read_records
from cache.format.manifest import Manifest
from cache.format.root import TOTALS, read_root


@dataclass(frozen=True)
class CacheInfo:
    """What a cache is, finished or not.

    Attributes:
        location: its folder or URL.
        manifest: what it holds when it is complete.
        complete: whether it is.
        committed: shards written so far; None behind a URL where nobody can count the files of an unfinished cache.
        totals: images, captions, tokens, pairs and skipped rows of the committed shards.
        bytes: of the committed shards' files by array, and of samples and ledger if they are written.
    """

    location: str
    manifest: Manifest
    complete: bool
    committed: int | None
    totals: Mapping[str, int]
    bytes: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """All of `bytes` together."""
        return sum(self.bytes.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "manifest": self.manifest.to_json(),
            "manifest_sha256": self.manifest.sha256,
            "shards": self.manifest.shards,
            "total_bytes": self.total_bytes,
        }


def cache_info(path: Path | str) -> CacheInfo:
    """Describe the cache at `path`, a folder or a URL; of its files, only `zarr.json` and the ledger are read.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: something else is there.
        CacheCorruptError: the ledger is damaged.
        CacheAccessError: a file cannot be read.
    """
    location = located(path)
    manifest, completion = read_root(location)
    if completion is not None:
        records = read_records(location, completion)
        other = {name: file.bytes for name, file in completion.files.items()}
        return CacheInfo(
            str(location),
            manifest,
            True,
            len(records),
            completion.totals,
            {**_bytes(manifest, records), **other},
        )
    if not isinstance(location, Path):
        return CacheInfo(str(location), manifest, False, None, {}, {})
    records = [
        record for shard in range(manifest.shards) if (record := _committed(location, manifest, shard))
    ]
    totals = {name: sum(getattr(record, name) for record in records) for name in TOTALS}
    return CacheInfo(str(location), manifest, False, len(records), totals, _bytes(manifest, records))


def _committed(path: Path, manifest: Manifest, shard: int) -> ShardRecord | None:
    """The record of a shard; None if there is none, or a damaged one, which counts for nothing."""
    try:
        return read_record(path, manifest, shard)
    except CacheCorruptError:
        return None


def _bytes(manifest: Manifest, records: list[ShardRecord]) -> dict[str, int]:
    """Bytes of the shards' files by array."""
    return {
        name: sum(
            record.files[file].written.bytes
            for record in records
            if (file := layout.shard_file(record.shard)) in record.files
        )
        for name, layout in sharded_layouts(manifest).items()
    }
