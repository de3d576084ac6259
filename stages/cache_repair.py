"""Repairing a cache: verify, encode what is lost, make the rest anew, verify."""

import contextlib
import functools
import stat
from pathlib import Path

from cache import CacheWriter, Manifest
from cache.operations import Verification, locked, repair_records, verify
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.datasets.layouts import open_split
from pipeline.datasets.pairs import PairDataset
from pipeline.encoding.split import cache_manifest, encode_missing
from pipeline.params import Params
from stages.cache_tables import verification_text
from stages.progress import progress_bar
from stages.terminal import Terminal


class Source:
    """What a cache was encoded from, opened when it is first needed."""

    def __init__(self, params: Params, split: str) -> None:
        """Take data set and backbone from `params`; `split` is a key of `dataset.splits`."""
        self._params = params
        self._split = split

    @functools.cached_property
    def dataset(self) -> PairDataset:
        """The data set."""
        return open_split(self._params.dataset, self._split)

    @functools.cached_property
    def backbone(self) -> Backbone:
        """The backbone."""
        return load_backbone(self._params.backbone)

    def manifest(self) -> Manifest:
        """The manifest of the cache that encoding them writes."""
        return cache_manifest(self.dataset, self.backbone, self._params.encode)


def repair(path: Path | str, params: Params, split: str) -> Verification:
    """Repair the cache at `path` as far as it can be, and verify it.

    Only shards that are damaged are encoded again. If the cache is unfinished, it is finished as well. Foreign files
    are left alone. The cache is locked from the first look at it on. If this is ended early, repeating it continues.

    Args:
        path: folder of the cache.
        params: `dataset`, `backbone` and `encode` are used, and only if a shard is lost.
        split: the key of `dataset.splits` that the cache was encoded from.

    Returns:
        What is wrong with the cache afterwards.

    Raises:
        CacheIdentityError: shards are lost, and the cache was not encoded from these options; names both values of
            every key that differs.
        CacheLockedError: another process is writing the cache.
        ConcordError: the data set or the backbone cannot be used.
        CacheError: the cache cannot be read or written.
    """
    console = Terminal()
    with locked(path) as lock:
        found = _verified(path)
        console.print(verification_text(path, found))
        if found.finished and all(problem.foreign for problem in found.problems):
            return found
        _make_damage_writable(Path(path), found)
        source = Source(params, split)
        lost = repair_records(Path(path), found, source.manifest)
        with CacheWriter.reopen(path, lost, lock) as writer:
            _encode(writer, source, params)
            writer.finish().close()
    found = _verified(path)
    console.print(verification_text(path, found))
    return found


def _make_damage_writable(path: Path, found: Verification) -> None:
    """Take the write protection off damaged files, which are about to be replaced.

    DVC may keep the same file under another name. It takes what is read-only for sound, without looking, and would put
    the damaged file back in place of the repaired one.
    """
    for problem in found.problems:
        file = path / problem.file
        if not problem.foreign:
            with contextlib.suppress(OSError):  # it is missing, or another user's
                file.chmod(file.stat().st_mode | stat.S_IWUSR)


def _verified(path: Path | str) -> Verification:
    with progress_bar(f"verify {Path(path).name}", "files") as advance:
        return verify(path, advance)


def _encode(writer: CacheWriter, source: Source, params: Params) -> None:
    """Encode what the writer misses; without that, neither data set nor backbone are opened."""
    if writer.missing_shards:
        with progress_bar(f"encode shards {writer.missing_shards} again", "images") as advance:
            encode_missing(writer, source.dataset, source.backbone, params.encode, advance)
