"""Several caches of one backbone as one."""

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import CacheError
from cache.format.manifest import Manifest, refuse_other_identity
from cache.operations.rewrite import SourceRows, provenance, rewrite, rewritten_manifest
from cache.operations.tasks import OnProgress
from cache.reading.reader import ActivationCache

LAYOUT = (
    "storage_dtype",
    "codec",
    "patches",
    "grid",
    "vision_channels",
    "text_channels",
    "embedding",
    "context_length",
)
"""What caches must have in common, beside the backbone."""

_NAMED_IMAGES = 5


def merge(
    sources: Sequence[ActivationCache], target: Path, on_progress: OnProgress | None = None
) -> ActivationCache:
    """Write all rows of `sources`, one cache after another, to `target`; resume if interrupted.

    An image id may be in one source only: what a duplicate means (the same picture encoded twice, or two data sets that
    both count from 1) is not for a merge to guess. The new cache has shards of the size of the first source's. Its
    `dataset` keeps the keys on which all sources agree; `name` and `split` are joined by `+`, and image files become
    relative to the closest folder that holds the roots of all.

    Args:
        sources: at least one; may be behind URLs.
        target: folder of the new cache.
        on_progress: called with the shards written and those in all.

    Raises:
        CacheIdentityError: sources differ in backbone or layout; names both values of every key that differs.
        CacheError: an image id is in two sources, or their roots have no folder in common.
        CacheCorruptError, DiskSpaceError, CacheLockedError: as `rewrite`.
    """
    first = sources[0].manifest
    for other in sources[1:]:
        refuse_other_identity(
            _kind(other.manifest), _kind(first), str(other), f"it cannot be merged with {sources[0]}"
        )
    _refuse_duplicates(sources)
    root = _common_root([_root(source) for source in sources])
    rows = [
        SourceRows(source, np.arange(len(source.sample_numbers)), _prefix(source, root)) for source in sources
    ]
    manifest = rewritten_manifest(
        rows, dataset=_dataset(sources, root), versions=_agreed([s.manifest.versions for s in sources])
    )
    return rewrite(rows, target, manifest, on_progress)


def _kind(manifest: Manifest) -> dict[str, Any]:
    return {key: value for key, value in manifest.to_json().items() if key in ("backbone", *LAYOUT)}


def _refuse_duplicates(sources: Sequence[ActivationCache]) -> None:
    ids = [np.unique(source.read_samples(["image_id"])["image_id"].to_numpy()) for source in sources]
    for (one, ids_of_one), (other, ids_of_other) in combinations(zip(sources, ids, strict=True), 2):
        both = np.intersect1d(ids_of_one, ids_of_other)
        if len(both):
            more = f" and {len(both) - _NAMED_IMAGES} more" if len(both) > _NAMED_IMAGES else ""
            named = ", ".join(map(str, both[:_NAMED_IMAGES])) + more
            raise CacheError(
                f"{other}: image ids {named} are also in {one}; leave them out of one (`subset`)"
            )


def _common_root(roots: Sequence[str]) -> str:
    try:
        return roots[0] if len(set(roots)) == 1 else Path(os.path.commonpath(roots)).as_posix()
    except ValueError:
        raise CacheError(
            f"the image files' roots {', '.join(sorted(set(roots)))} have no folder in common"
        ) from None


def _root(source: ActivationCache) -> str:
    return str(source.manifest.dataset.get("root", ""))


def _prefix(source: ActivationCache, root: str) -> str:
    """What leads from the common root to that of `source`, with a slash at its end unless they are the same."""
    inside = Path(_root(source)).relative_to(root).as_posix()
    return "" if inside == "." else f"{inside}/"


def _dataset(sources: Sequence[ActivationCache], root: str) -> dict[str, Any]:
    datasets = [source.manifest.dataset for source in sources]
    derived = provenance("merge", sources)
    for source, entry in zip(sources, derived["from"], strict=True):
        entry["dataset"] = {
            key: source.manifest.dataset[key] for key in source.manifest.dataset if key != "derived"
        }
        entry["versions"] = source.manifest.versions
    names = {
        key: "+".join(dict.fromkeys(str(dataset[key]) for dataset in datasets))
        for key in ("name", "split")
        if all(key in dataset for dataset in datasets)
    }
    return {**_agreed(datasets), **names, "root": root, "derived": derived}


def _agreed(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys that all objects have with the same value."""
    return {key: value for key, value in objects[0].items() if all(o.get(key) == value for o in objects)}
