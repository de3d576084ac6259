"""A cache in another storage dtype, with another codec, or in shards of another size."""

from pathlib import Path

import numpy as np

from cache.format.storage_options import StorageCodec, StorageDtype
from cache.operations.rewrite import SourceRows, provenance, rewrite, rewritten_manifest
from cache.operations.tasks import OnProgress
from cache.reading.reader import ActivationCache


def convert(
    source: ActivationCache,
    target: Path,
    storage_dtype: StorageDtype | None = None,
    codec: StorageCodec | None = None,
    shard_images: int | None = None,
    on_progress: OnProgress | None = None,
) -> ActivationCache:
    """Write all of `source`, skipped rows too, to `target` in another form; resume if interrupted.

    In the same dtype, values stay the same bit for bit, unless the codec rounds, and except of int8, which is quantised
    anew because a shard's calibration is of the shard alone. What was rounded stays so in another form.

    Args:
        source: may be behind a URL.
        target: folder of the new cache.
        storage_dtype: that of `source` by default.
        codec: that of `source` by default.
        shard_images: image rows of a shard; those of `source` by default.
        on_progress: called with the shards written and those in all.

    Raises:
        CacheIdentityError, CacheCorruptError, DiskSpaceError, CacheLockedError: as `rewrite`.
    """
    old = source.manifest
    form = {
        "storage_dtype": storage_dtype or old.storage_dtype,
        "codec": codec or old.codec,
        "shard_images": shard_images or old.shard_images,
    }
    rows = [SourceRows(source, np.arange(len(source.sample_numbers)))]
    derived = provenance("convert", [source])
    manifest = rewritten_manifest(rows, dataset={**old.dataset, "derived": derived}, **form)
    return rewrite(rows, target, manifest, on_progress)
