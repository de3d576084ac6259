"""Verification: is every file of a cache the one that was written, and if not, which pairs are touched."""

import functools
from collections.abc import Iterator
from pathlib import Path

from cache.errors import CacheRemoteError, unreadable
from cache.files.location import located
from cache.files.lock import WriterLock
from cache.format.root import read_root
from cache.operations.contents import CommittedFile, Contents, contents_of
from cache.operations.file_check import Damage, check_shard_file
from cache.operations.tasks import OnProgress, computed
from cache.operations.verification import Problem, Verification


def verify(path: Path | str, on_progress: OnProgress | None = None) -> Verification:
    """Compare every file of the cache at `path` with what was written.

    An unfinished cache is verified as far as it is committed. Shard files are checked as Dask tasks; in memory are one
    inner chunk for each task, the ledger, and two integers for each caption.

    Args:
        path: folder of the cache.
        on_progress: called with the shard files checked and those in all.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: what is there is not an activation cache.
        CacheRemoteError: `path` is a URL.
    """
    folder = _on_disk(path)
    contents = contents_of(folder)
    if isinstance(contents, Problem):
        return Verification((contents,), (), 1, finished=True)
    problems = [*contents.problems, *_shard_problems(folder, contents, on_progress)]
    files = contents.checked + len(contents.shard_files)
    return Verification(tuple(problems), contents.unwritten, files, contents.finished)


def locked(path: Path | str) -> WriterLock:
    """The lock of the cache at `path`, held: nothing else writes it until it is released.

    Raises:
        CacheMissingError, CacheFormatError, CacheRemoteError: as `verify`.
        CacheLockedError: another process is writing it.
        CacheAccessError: its folder cannot be opened.
    """
    folder = _on_disk(path)
    try:
        return WriterLock(folder)
    except (FileNotFoundError, NotADirectoryError):
        read_root(folder)  # which tells what is there instead
        raise
    except OSError as error:
        raise unreadable(folder, error) from None


def _on_disk(path: Path | str) -> Path:
    folder = located(path)
    if not isinstance(folder, Path):
        raise CacheRemoteError(
            f"{folder}: only a cache on disk can be verified or repaired; copy it there first"
        )
    return folder


def _shard_problems(path: Path, contents: Contents, on_progress: OnProgress | None) -> Iterator[Problem]:
    files = contents.shard_files
    checks = computed(functools.partial(_check, path), files)
    for done, (file, damage) in enumerate(zip(files, checks, strict=True), start=1):
        if on_progress is not None:
            on_progress(done, len(files))
        if damage is not None:
            pairs = contents.pairs.touched(file.shard, file.layout, damage.parts)
            yield Problem(file.name, damage.problem, file.shard, pairs)


def _check(path: Path, file: CommittedFile) -> Damage | None:
    return check_shard_file(path / file.name, file.layout, file.expected)
