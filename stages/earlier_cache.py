"""What becomes of the cache that an earlier `encode` left at its place."""

from collections.abc import Callable
from pathlib import Path

from rich.filesize import decimal

from cache import (
    ActivationCache,
    CacheAccessError,
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheIncompleteError,
    CacheLockedError,
    CacheVersionError,
    Manifest,
    clear_cache,
    json_leaves,
    shown_text,
)
from cache.operations import cache_info

_NAMED_KEYS = 5
"""Differing keys that a message names."""

_PLACE = ("dataset.root", "dataset.name")
"""Where the data set lies and what its folder is called: the fingerprint says what it holds."""


def is_encoded(
    path: Path, wanted: Manifest, repair: Callable[[], object], say: Callable[[str], None]
) -> bool:
    """Whether the cache at `path` is finished, whole and the wanted one, so that nothing is to be done.

    One that was interrupted on the way to `wanted` is left to be continued. One that is damaged is repaired. Any other
    is deleted, which is said. What is no cache, or cannot be read, is left alone.

    Args:
        path: where the cache belongs.
        wanted: its manifest. In a finished cache, versions of libraries and the place of the data set may differ; the
            code of this pipeline may not.
        repair: repairs the cache.
        say: told in one line what was done.

    Raises:
        CacheFormatError: something else than a cache is at `path`.
        CacheLockedError: another process is writing the cache.
        CacheAccessError: it cannot be read, although it may be whole.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    try:
        differing = _differences(_repaired(path, repair, say), wanted, finished=True)
    except CacheIncompleteError:
        differing = _differences(cache_info(path).manifest, wanted, finished=False)
        if not differing:
            return False
    except (CacheAccessError, CacheLockedError):
        raise
    except CacheError as error:
        _discard(path, shown_text(error), say)
        return False
    if differing:
        more = ", ..." if len(differing) > _NAMED_KEYS else ""
        named = ", ".join(map(shown_text, differing[:_NAMED_KEYS]))
        _discard(path, f"it has another {named}{more}", say)
        return False
    say(f"{path}: is already encoded and whole; nothing to do")
    return True


def _repaired(path: Path, repair: Callable[[], object], say: Callable[[str], None]) -> Manifest:
    """The manifest of the finished cache at `path`, repaired if it was damaged. Raises CacheError if it still is."""
    try:
        return _whole(path)
    except CacheVersionError:
        raise
    except (CacheCorruptError, CacheFormatError) as error:
        if not (path / "zarr.json").exists():
            raise
        say(f"{shown_text(error)}: repairing")
        repair()
        return _whole(path)


def _whole(path: Path) -> Manifest:
    """The manifest of a finished cache all of whose files have their sizes, and whose tables have their hashes."""
    with ActivationCache.open(path) as cache:
        _ = cache.statistics, cache.sample_numbers, cache.caption_lengths
        return cache.manifest


def _differences(found: Manifest, wanted: Manifest, *, finished: bool) -> list[str]:
    """Dotted keys in which two manifests differ; in a finished cache, libraries' versions and places do not count."""
    ours, theirs = (dict(json_leaves(manifest.to_json())) for manifest in (found, wanted))
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return [key for key in keys if not finished or _decides(key)]


def _decides(key: str) -> bool:
    """Whether the value of this key decides what a finished cache holds."""
    return key not in _PLACE and (key == "versions.code" or not key.startswith("versions."))


def _discard(path: Path, why: str, say: Callable[[str], None]) -> None:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    clear_cache(path)
    say(f"{path}: {decimal(size)} of an earlier cache were deleted, for {why}")
