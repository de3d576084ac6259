"""Verification: is every file of a cache the one that was written, and if not, which pairs are touched."""

import functools
from collections.abc import Iterator
from pathlib import Path

from cache.errors import CacheRemoteError
from cache.files.location import located
from cache.operations.contents import Contents, ShardFile, contents_of
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
    folder = located(path)
    if not isinstance(folder, Path):
        raise CacheRemoteError(f"{folder}: only a cache on disk can be verified; copy it there first")
    contents = contents_of(folder)
    if isinstance(contents, Problem):
        return Verification((contents,), (), 1)
    problems = [*contents.problems, *_shard_problems(folder, contents, on_progress)]
    return Verification(tuple(problems), contents.unwritten, contents.checked + len(contents.shard_files))


def _shard_problems(path: Path, contents: Contents, on_progress: OnProgress | None) -> Iterator[Problem]:
    files = contents.shard_files
    checks = computed(functools.partial(_check, path), files)
    for done, (file, damage) in enumerate(zip(files, checks, strict=True), start=1):
        if on_progress is not None:
            on_progress(done, len(files))
        if damage is not None:
            pairs = contents.pairs.touched(file.shard, file.layout, damage.parts)
            yield Problem(file.name, damage.problem, file.shard, pairs)


def _check(path: Path, file: ShardFile) -> Damage | None:
    return check_shard_file(path / file.name, file.layout, file.expected)
