"""What is on disk when a writer opens a cache: committed shards are kept, everything half done is swept away."""

import functools
import os
import shutil
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from cache.errors import CacheCorruptError, CacheError, reason_and_file, unreadable
from cache.files.durable import PARTIAL_SUFFIX, is_as_written, sync
from cache.files.lock import WriterLock
from cache.format.layout import LEDGER_FOLDER, SAMPLES_FILE, sharded_layouts
from cache.format.ledger import (
    ShardRecord,
    commit,
    read_record,
    record_path,
    shard_samples_name,
)
from cache.format.manifest import Manifest
from cache.format.root import check_format, mark_incomplete, write_root
from cache.format.samples import read_shards_of_samples, write_samples
from cache.reading.prefetch import prefetched


def is_free(path: Path) -> bool:
    """Whether a new cache can be created in the folder `path`: it is empty, or its creation was interrupted."""
    return all(entry.name == "zarr.json" + PARTIAL_SUFFIX for entry in path.iterdir())


def sweep(path: Path, manifest: Manifest) -> dict[int, ShardRecord]:
    """The committed shards of an interrupted cache; every file of an uncommitted shard is deleted.

    A warning tells of each shard that was committed and is damaged, and so is uncommitted now.
    """
    records: dict[int, ShardRecord] = {}
    check = functools.partial(_committed_or_damage, path, manifest)
    workers = os.cpu_count() or 1
    for shard, found in enumerate(prefetched(check, range(manifest.shards), 2 * workers, workers)):
        if isinstance(found, CacheCorruptError):
            warnings.warn(f"{found}; shard {shard} is written again", stacklevel=2)
        elif found is not None:
            records[shard] = found
    committed = {file for record in records.values() for file in record.files}
    committed |= {shard_samples_name(shard) for shard in records}
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


def _committed_or_damage(
    path: Path, manifest: Manifest, shard: int
) -> ShardRecord | CacheCorruptError | None:
    """As `_committed`, but damage is returned, so that the shards after it are looked at, too."""
    try:
        return _committed(path, manifest, shard)
    except CacheCorruptError as error:
        return error


def _committed(path: Path, manifest: Manifest, shard: int) -> ShardRecord | None:
    """The record of a shard if it has one.

    Raises:
        CacheCorruptError: the record is damaged, or a file of the shard is not the one that was written.
        CacheAccessError: a file cannot be read.
    """
    record = read_record(path, manifest, shard)
    if record is None:
        return None
    written = {name: file.written for name, file in record.files.items()}
    if record.samples is not None:
        written[shard_samples_name(shard)] = record.samples
    for name, expected in written.items():
        try:
            is_sound = is_as_written(path / name, expected)
        except OSError as error:
            raise unreadable(path / name, error) from None
        if not is_sound:
            raise CacheCorruptError(f"{path / name}: is not the file that was written")
    return record


def remove_traces(path: Path) -> None:
    """Delete from a complete cache what only an unfinished one needs."""
    shutil.rmtree(path / LEDGER_FOLDER, ignore_errors=True)
    for stray in path.rglob(f"*{PARTIAL_SUFFIX}"):
        stray.unlink()
    sync(path)


def make_incomplete(path: Path, manifest: Manifest, kept: Mapping[int, ShardRecord]) -> None:
    """Turn a complete cache into an interrupted one in which the shards with a record in `kept` are committed.

    Their records and samples are made durable first; until the group document is replaced in the last step, which
    is atomic, the cache stays complete. The files of all other shards are left to `sweep`.

    Raises:
        CacheCorruptError: what samples.parquet has of a shard that is to be kept is damaged.
    """
    remove_traces(path)
    (path / LEDGER_FOLDER).mkdir()
    if kept:
        tables = read_shards_of_samples(path / SAMPLES_FILE, kept)
        for (shard, record), table in zip(kept.items(), tables, strict=True):
            written = write_samples(path / shard_samples_name(shard), [table])
            commit(path, replace(record, samples=written))
    sync(path)
    write_root(path, manifest)


def drop(path: Path, shards: Collection[int]) -> None:
    """Make shards of an interrupted cache uncommitted."""
    for shard in shards:
        record_path(path, shard).unlink(missing_ok=True)


def clear_cache(path: Path | str) -> None:
    """Delete all that is in the folder of a cache, complete or not, so that another can be written there.

    The cache may be of another version of the format. It is marked incomplete first and its group document goes last,
    so that clearing which is interrupted leaves an interrupted cache: no reader opens it, and a writer, or clearing
    again, takes it up.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: what is there is not an activation cache.
        CacheLockedError: another process is writing it.
        CacheError: a file cannot be deleted.
    """
    path = Path(path)
    check_format(path)  # or there is nothing to lock
    try:
        with WriterLock(path):
            mark_incomplete(path)
            for entry in sorted(path.iterdir(), key=lambda entry: entry.name == "zarr.json"):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            sync(path)
    except OSError as error:
        raise CacheError(
            f"{path}: cannot be cleared ({reason_and_file(error)}); see to that and try again"
        ) from None
