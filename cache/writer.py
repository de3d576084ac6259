"""Writing a cache shard by shard, so that killing the process at any moment loses at most one shard.

A shard's files are made durable first; one atomic ledger record then makes them part of the cache. Opening the
same cache again deletes whatever has no matching record and continues. No file contains a clock, a host name or
anything else that depends on when or in how many attempts the cache was written.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from cache.activations import (
    ShardActivations,
    StoredShard,
    check_shapes,
    refuse_non_finite,
    stored_shard,
)
from cache.budget import disk_budget, refuse_full_disk, write_error
from cache.durable import PARTIAL_SUFFIX, WrittenFile, sync
from cache.errors import CacheFormatError, CacheIncompleteError, ShardContentError
from cache.finish import finish_cache
from cache.layout import LEDGER_FOLDER, create_arrays, sharded_layouts
from cache.ledger import ShardRecord, commit, read_record, record_path, shard_samples_name
from cache.manifest import Manifest, refuse_other_identity
from cache.reader import ActivationCache
from cache.root import read_root, write_root
from cache.samples import shard_samples, used_rows, write_samples
from cache.shard import write_shard_file
from cache.statistics import SideStatistics


class CacheWriter:
    """Writes the cache described by a manifest; get one from `CacheWriter.open`.

    Shards may be written in any order, each once, one writer at a time.

    Attributes:
        path: folder of the cache.
        manifest: what the cache is going to hold.
    """

    def __init__(
        self, path: Path, manifest: Manifest, records: dict[int, ShardRecord], complete: bool
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._records = records
        self._complete = complete
        self._layouts = sharded_layouts(manifest)

    @classmethod
    def open(cls, path: Path | str, manifest: Manifest, text_tokens: int | None = None) -> Self:
        """Create the cache at `path`, or resume it where an earlier writer left off.

        Args:
            path: folder to write, customarily `NAME.zarr`; missing, empty, or a cache of the same manifest.
            manifest: identity and dimensions of the cache.
            text_tokens: total of text tokens if known, for a tighter disk budget; see `disk_budget`.

        Raises:
            CacheFormatError: `path` is a file or a folder that is not an activation cache.
            CacheIdentityError: a cache of another identity is there; names every differing key and both values.
            DiskSpaceError: the disk cannot hold what remains to be written; names both numbers.
            CacheError: the folder cannot be written.
        """
        path = Path(path)
        completion, records = None, {}
        if not _is_free(path):
            found, completion = read_root(path)
            refuse_other_identity(
                found.to_json(), manifest.to_json(), str(path), "choose another path or delete this cache"
            )
            if completion is None:
                records = _sweep(path, manifest)
            else:
                _remove_traces(path)
        writer = cls(path, manifest, records, complete=completion is not None)
        if completion is None:
            writer._prepare(text_tokens)
        return writer

    @property
    def missing_shards(self) -> list[int]:
        """Numbers of the shards that remain to be written, ascending."""
        if self._complete:
            return []
        return [shard for shard in range(self.manifest.shards) if shard not in self._records]

    def shard_images(self, shard: int) -> range:
        """Image rows of `shard`."""
        return self.manifest.image_range(shard)

    def write_shard(self, shard: int, activations: ShardActivations, samples: pa.Table) -> None:
        """Check, store and commit one shard; when this returns, the shard survives a crash.

        Values beyond the range of the storage dtype (65504 for float16) are clipped and counted.

        Args:
            shard: one of `missing_shards`.
            activations: of the shard's images and captions, floating point of any width.
            samples: rows of `SAMPLES_SCHEMA` for the shard, sorted by image row; the columns `pair`,
                `caption_row` and `tokens` are filled in here and may be absent.

        Raises:
            ShardContentError: shapes, samples or lengths contradict each other or the manifest, or values are
                not finite (naming the image ids). Nothing is written then.
            DiskSpaceError: the disk is full; the shards committed so far are kept.
        """
        where = f"{self.path}: shard {shard}"
        if shard not in self.missing_shards:
            raise ShardContentError(f"{where} is not missing; missing are {self.missing_shards}")
        check_shapes(activations, self.manifest, shard, where)
        table = shard_samples(
            samples,
            self.manifest.image_range(shard),
            self.manifest.caption_range(shard),
            activations.text_lengths,
            where,
        )
        refuse_non_finite(activations, table, where)
        stored = stored_shard(activations, self.manifest.storage_dtype)
        with self._failed_writes_are_reported(where):
            record = self._record(shard, stored, table, self._write_files(shard, stored, table))
            commit(self.path, record)
        self._records[shard] = record

    def finish(self) -> ActivationCache:
        """Merge the statistics, write samples and ledger, mark the cache complete, and open it.

        Raises:
            CacheIncompleteError: shards are missing.
            DiskSpaceError: the disk is full; finish can be repeated.
        """
        missing = self.missing_shards
        if missing:
            named = f"{missing[:10]}{' ...' if len(missing) > 10 else ''}"
            raise CacheIncompleteError(f"{self.path}: {self._progress()}; write shards {named} first")
        if not self._complete:
            with self._failed_writes_are_reported(str(self.path)):
                finish_cache(self.path, self.manifest, self._records)
                _remove_traces(self.path)
            self._complete = True
        return ActivationCache.open(self.path)

    def _progress(self) -> str:
        return f"{len(self._records)} of {self.manifest.shards} shards are committed"

    @contextmanager
    def _failed_writes_are_reported(self, where: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(error, self.path, where, self._progress()) from None

    def _prepare(self, text_tokens: int | None) -> None:
        """Create what there is before the first shard, or what an interrupted creation left out, durably."""
        written = sum(file.bytes for record in self._records.values() for file in record.files.values())
        refuse_full_disk(self.path, disk_budget(self.manifest, text_tokens).total - written)
        with self._failed_writes_are_reported(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            sync(self.path.parent)
            write_root(self.path, self.manifest, completion=None)
            create_arrays(self.path, self.manifest)
            (self.path / LEDGER_FOLDER).mkdir(exist_ok=True)
            sync(self.path)

    def _write_files(self, shard: int, stored: StoredShard, table: pa.Table) -> dict[str, WrittenFile]:
        """Write the shard's files durably, its samples last."""
        files = {}
        for name, layout in self._layouts.items():
            file = layout.shard_file(shard)
            files[file] = write_shard_file(self.path / file, layout, stored.arrays[name])
            sync(self.path / name)
        samples_file = shard_samples_name(shard)
        files[samples_file] = write_samples(self.path / samples_file, [table])
        sync(self.path / LEDGER_FOLDER)
        return files

    def _record(
        self, shard: int, stored: StoredShard, table: pa.Table, files: dict[str, WrittenFile]
    ) -> ShardRecord:
        used = used_rows(table)
        images = self.manifest.image_range(shard)
        paired = np.unique(table["image_row"].to_numpy()[used]) - images.start
        vision = stored.arrays["vision/tokens"]
        if len(paired) < len(images):
            vision = vision[paired]
        text = stored.arrays["text/tokens"]
        return ShardRecord(
            shard=shard,
            manifest_sha256=self.manifest.sha256,
            images=len(images),
            captions=self.manifest.shard_captions[shard],
            tokens=len(text),
            pairs=int(used.sum()),
            skipped=int((~used).sum()),
            files=files,
            vision=SideStatistics.of(
                vision.reshape(-1, self.manifest.vision_channels), stored.vision_overflow
            ),
            text=SideStatistics.of(text, stored.text_overflow),
        )


def _is_free(path: Path) -> bool:
    """Whether a new cache can be created at `path`: nothing there, or a folder whose creation was interrupted.

    Raises:
        CacheFormatError: `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise CacheFormatError(f"{path}: is a file, not a folder; choose another path for the cache")
    return not path.exists() or all(entry.name == "zarr.json" + PARTIAL_SUFFIX for entry in path.iterdir())


def _sweep(path: Path, manifest: Manifest) -> dict[int, ShardRecord]:
    """The committed shards of an interrupted cache; every file of an uncommitted shard is deleted."""
    records: dict[int, ShardRecord] = {}
    for shard in range(manifest.shards):
        record = read_record(record_path(path, shard))
        if record and record.manifest_sha256 == manifest.sha256 and record.has_its_files(path):
            records[shard] = record
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


def _remove_traces(path: Path) -> None:
    """Delete from a complete cache what only an unfinished one needs."""
    shutil.rmtree(path / LEDGER_FOLDER, ignore_errors=True)
    for stray in path.rglob(f"*{PARTIAL_SUFFIX}"):
        stray.unlink()
    sync(path)
