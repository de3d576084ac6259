"""What is on disk when a writer opens a cache: committed shards are kept, everything half done is swept away."""

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from cache.errors import CacheError
from cache.files.durable import PARTIAL_SUFFIX, file_written, sync
from cache.files.lock import WriterLock
from cache.format.layout import LEDGER_FOLDER, SAMPLES_FILE, sharded_layouts
from cache.format.ledger import (
    ShardRecord,
    commit,
    read_record,
    read_records,
    record_path,
    shard_samples_name,
)
from cache.format.manifest import Manifest
from cache.format.root import Completion, read_root, write_root
from cache.format.samples import read_shards_of_samples, write_samples


def is_free(path: Path) -> bool:
    """Whether a new cache can be created in the folder `path`: it is empty, or its creation was interrupted."""
    return all(entry.name == "zarr.json" + PARTIAL_SUFFIX for entry in path.iterdir())


def sweep(path: Path, manifest: Manifest) -> dict[int, ShardRecord]:
    """The committed shards of an interrupted cache; every file of an uncommitted shard is deleted."""
    records = {
        shard: record
        for shard in range(manifest.shards)
        if (record := _committed(path, manifest, shard)) is not None
    }
    committed = {file for record in records.values() for file in record.files}
    committed |= {record_path(path, shard).relative_to(path).as_posix() for shard in records}
    ours = [
        *(f"{name}/c.*" for name in sharded_layouts(manifest)),
        f"{LEDGER_FOLDER}/*",
        f"**/*{PARTIAL_SUFFIX}",
    ]
    for pattern in ours:
        for file in path.glob(pattern):
            if file.relative_to(path).as_posix() not in committed:
                file.unlink()
    return records


def _committed(path: Path, manifest: Manifest, shard: int) -> ShardRecord | None:
    """The record of a shard if it is whole and the shard's files are there; samples, being small, are hashed."""
    record = read_record(record_path(path, shard))
    samples = shard_samples_name(shard)
    files = {layout.shard_file(shard) for layout in sharded_layouts(manifest).values()} | {samples}
    if record is None or (record.shard, record.manifest_sha256) != (shard, manifest.sha256):
        return None
    if record.files.keys() != files or not record.has_its_files(path):
        return None
    return record if file_written(path / samples) == record.files[samples] else None


def remove_traces(path: Path) -> None:
    """Delete from a complete cache what only an unfinished one needs."""
    shutil.rmtree(path / LEDGER_FOLDER, ignore_errors=True)
    for stray in path.rglob(f"*{PARTIAL_SUFFIX}"):
        stray.unlink()
    sync(path)


def make_incomplete(
    path: Path, manifest: Manifest, completion: Completion, bad_shards: Collection[int]
) -> None:
    """Turn a complete cache into an interrupted one in which all shards but `bad_shards` are committed.

    Their records and samples are made durable first; until the group document is replaced in the last step, which
    is atomic, the cache stays complete. The files of bad shards are left to `sweep`.

    Raises:
        CacheCorruptError: ledger.parquet is damaged, or what samples.parquet has of a shard that is to be kept.
    """
    remove_traces(path)
    (path / LEDGER_FOLDER).mkdir()
    kept = [shard for shard in range(manifest.shards) if shard not in bad_shards]
    if kept:
        records = read_records(path, completion)
        tables = read_shards_of_samples(path / SAMPLES_FILE, kept)
        for shard, table in zip(kept, tables, strict=True):
            samples = shard_samples_name(shard)
            files = {**records[shard].files, samples: write_samples(path / samples, [table])}
            commit(path, replace(records[shard], files=files))
    sync(path)
    write_root(path, manifest)


def drop(path: Path, shards: Collection[int]) -> None:
    """Make shards of an interrupted cache uncommitted."""
    for shard in shards:
        record_path(path, shard).unlink(missing_ok=True)


def clear_cache(path: Path | str) -> None:
    """Delete all that is in the folder of a cache, complete or not, so that another can be written there.

    The cache is marked incomplete first and its group document goes last, so that clearing which is interrupted
    leaves an interrupted cache: no reader opens it, and a writer, or clearing again, takes it up.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: what is there is not an activation cache.
        CacheLockedError: another process is writing it.
        CacheError: a file cannot be deleted.
    """
    path = Path(path)
    manifest, _ = read_root(path)
    try:
        with WriterLock(path):
            write_root(path, manifest)
            for entry in sorted(path.iterdir(), key=lambda entry: entry.name == "zarr.json"):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            sync(path)
    except OSError as error:
        raise CacheError(f"{path}: cannot be cleared ({error})") from None
