"""Some pairs of a cache as a cache of its own."""

import hashlib
from pathlib import Path

import numpy as np

from cache.operations.rewrite import SourceRows, provenance, rewrite, rewritten_manifest
from cache.operations.selection import Selection
from cache.operations.tasks import OnProgress
from cache.reading.reader import ActivationCache


def subset(
    source: ActivationCache,
    target: Path,
    selection: Selection,
    on_progress: OnProgress | None = None,
) -> ActivationCache:
    """Write the given pairs of `source` to `target`, in their order in `source`; resume if interrupted.

    Images without one of the pairs are left out, and so are the other captions of those that stay. Values are those of
    `source` bit for bit, except of int8, which is quantised anew because a shard's calibration is of the shard alone.

    Args:
        source: may be behind a URL.
        target: folder of the new cache.
        selection: which pairs.
        on_progress: called with the shards written and those in all.

    Raises:
        CacheIdentityError, CacheCorruptError, DiskSpaceError, CacheLockedError: as `rewrite`.
    """
    numbered = source.sample_numbers["pair"].is_valid().to_numpy(zero_copy_only=False)
    rows = [SourceRows(source, np.flatnonzero(numbered)[selection.pairs])]
    derived = provenance(
        "subset",
        [source],
        selection=selection.description,
        pairs_sha256=hashlib.sha256(selection.pairs.astype("<i8").tobytes()).hexdigest(),
    )
    manifest = rewritten_manifest(rows, dataset={**source.manifest.dataset, "derived": derived})
    return rewrite(rows, target, manifest, on_progress)
