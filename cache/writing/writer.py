"""Writing a cache shard by shard, so that killing the process at any moment loses at most one shard.

A shard's files are made durable first; one atomic ledger record then makes them part of the cache. Opening the
same cache again deletes whatever has no matching record and continues. No file contains a clock, a host name or
anything else that depends on when or in how many attempts the cache was written.
"""

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from cache.errors import CacheError, CacheFormatError, CacheIncompleteError, ShardContentError
from cache.files.durable import sync, write_all_durably
from cache.files.lock import WriterLock
from cache.format.layout import LEDGER_FOLDER, array_hierarchy
from cache.format.ledger import ShardRecord, read_records
from cache.format.manifest import Manifest, refuse_other_identity
from cache.format.root import read_root, write_root
from cache.format.samples import shard_samples
from cache.reading.reader import ActivationCache
from cache.writing.activations import (
    ShardActivations,
    check_shapes,
    refuse_non_finite,
    stored_shard,
)
from cache.writing.budget import (
    disk_budget,
    failed_preparation_is_reported,
    refuse_full_disk,
    write_error,
)
from cache.writing.commit import commit_shard
from cache.writing.finish import finish_cache
from cache.writing.resume import drop, is_free, make_incomplete, remove_traces, sweep


class CacheWriter:
    """Writes the cache described by a manifest; get one from `CacheWriter.open`.

    Shards may be written in any order, each once, from any thread. While a writer is open it holds the cache's lock, so
    that there is one at a time; leaving its `with` block closes it, and so do `finish` and the end of the process.

    Attributes:
        path: folder of the cache.
        manifest: what the cache is going to hold.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        records: dict[int, ShardRecord],
        lock: WriterLock,
        *,
        complete: bool,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._records = records
        self._complete = complete
        self._lock = lock
        self._writing = threading.Lock()
        self._closed = False

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
            CacheLockedError: another process is writing it.
            DiskSpaceError: the disk cannot hold what remains to be written; names both numbers.
            CacheError: the folder cannot be written.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise CacheFormatError(f"{path}: is a file, not a folder; choose another path for the cache")
        with failed_preparation_is_reported(path), ExitStack() as on_failure:
            if not path.exists():
                refuse_full_disk(path, disk_budget(manifest, text_tokens).total)
                path.mkdir(parents=True, exist_ok=True)
                sync(path.parent)
            lock = on_failure.enter_context(WriterLock(path))
            writer = cls._resumed(path, manifest, lock, text_tokens)
            on_failure.pop_all()
        return writer

    @classmethod
    def reopen(cls, path: Path | str, bad_shards: Collection[int], lock: WriterLock | None = None) -> Self:
        """Open a cache in order to write `bad_shards` anew; all others stay committed.

        A complete cache becomes an incomplete one in a single step, so that whatever ends this early leaves either;
        both can be opened or reopened. `finish` also makes anew all that follows from the shards (statistics,
        positions of captions, metadata), so that without a bad shard it repairs just those.

        Args:
            path: folder of a cache, complete or not.
            bad_shards: numbers of shards; if they are all there are, no file is relied on but `zarr.json`.
            lock: the cache's lock if the caller holds it already; the writer releases it as its own.

        Raises:
            CacheMissingError: nothing is at `path`.
            CacheFormatError: what is there is not an activation cache.
            CacheCorruptError: ledger.parquet is damaged, or what samples.parquet has of a shard that is to be kept.
            CacheLockedError, DiskSpaceError, CacheError: as `open`.
            IndexError: there is no such shard.
        """
        path = Path(path)
        read_root(path)  # or there is nothing to lock
        with failed_preparation_is_reported(path), ExitStack() as on_failure:
            lock = on_failure.enter_context(lock or WriterLock(path))
            manifest, completion = read_root(path)
            if unknown := set(bad_shards) - set(range(manifest.shards)):
                raise IndexError(f"{path}: has shards 0 to {manifest.shards - 1}, not {sorted(unknown)}")
            if completion is None:
                drop(path, bad_shards)
            else:
                kept = {shard for shard in range(manifest.shards) if shard not in bad_shards}
                records = enumerate(read_records(path, completion)) if kept else ()
                make_incomplete(path, manifest, {shard: record for shard, record in records if shard in kept})
            writer = cls._resumed(path, manifest, lock, None)
            on_failure.pop_all()
        return writer

    @classmethod
    def _resumed(cls, path: Path, manifest: Manifest, lock: WriterLock, text_tokens: int | None) -> Self:
        """A writer for what is on disk, where only the owner of `lock` changes anything."""
        completion, records = None, {}
        if not is_free(path):
            found, completion = read_root(path)
            refuse_other_identity(
                found.to_json(), manifest.to_json(), str(path), "choose another path or delete this cache"
            )
            if completion is None:
                records = sweep(path, manifest)
            else:
                remove_traces(path)
        writer = cls(path, manifest, records, lock, complete=completion is not None)
        if completion is None:
            writer._prepare(text_tokens)
        return writer

    def close(self) -> None:
        """Wait for a shard that is being written, then let the next writer in; closing twice does no harm."""
        with self._writing:
            self._closed = True
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"{self.path}: {self._safe()}")

    @property
    def complete(self) -> bool:
        """Whether the cache is finished."""
        return self._complete

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
            CacheError: the writer is closed, or the cache cannot be written.
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
        stored = stored_shard(activations, self.manifest.storage_dtype, self.manifest.codec)
        with self._writing_alone(where):
            self._records[shard] = commit_shard(self.path, self.manifest, shard, stored, table)

    def finish(self) -> ActivationCache:
        """Merge the statistics, write samples and ledger, mark the cache complete, close the writer, open the cache.

        Raises:
            CacheIncompleteError: shards are missing.
            DiskSpaceError: the disk is full; finish can be repeated.
        """
        missing = self.missing_shards
        if missing:
            named = f"{missing[:10]}{' ...' if len(missing) > 10 else ''}"
            raise CacheIncompleteError(f"{self.path}: {self._progress()}; write shards {named} first")
        if not self._complete:
            with self._writing_alone(str(self.path)):
                finish_cache(self.path, self.manifest, self._records)
                remove_traces(self.path)
                self._complete = True
        self.close()
        return ActivationCache.open(self.path)

    def _progress(self) -> str:
        return f"{len(self._records)} of {self.manifest.shards} shards are committed"

    def _safe(self) -> str:
        if self._complete:
            return "is complete"
        return f"committed are shards {_spans(self._records) or '(none)'} of {self.manifest.shards}"

    @contextmanager
    def _writing_alone(self, where: str) -> Iterator[None]:
        """Write from one thread at a time, and report what fails."""
        with self._writing:
            if self._closed:
                raise CacheError(f"{where}: the writer is closed; open the cache again")
            try:
                yield
            except OSError as error:
                raise write_error(error, self.path, where, self._progress()) from None

    def _prepare(self, text_tokens: int | None) -> None:
        """Create what there is before the first shard, or what an interrupted creation left out, durably."""
        refuse_full_disk(self.path, disk_budget(self.manifest, text_tokens, self.missing_shards).total)
        write_root(self.path, self.manifest)
        files = array_hierarchy(self.manifest).members
        write_all_durably({self.path / name: content for name, content in files.items()})
        (self.path / LEDGER_FOLDER).mkdir(exist_ok=True)
        sync(self.path)


def _spans(numbers: Iterable[int]) -> str:
    """Numbers as people write them: "0-3, 5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
