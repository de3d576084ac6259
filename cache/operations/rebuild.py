"""Making a lost ledger anew from the shard files that it described."""

import functools
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from cache.errors import CacheError
from cache.files.durable import PARTIAL_SUFFIX, file_written, sync
from cache.format.layout import LEDGER_FILE, SAMPLES_FILE, sharded_layouts
from cache.format.ledger import ShardRecord, shard_record, write_ledger
from cache.format.root import read_root
from cache.format.samples import read_shards_of_samples, used_rows
from cache.format.statistics import SideStatistics
from cache.format.storage import StoredRows
from cache.operations.tasks import computed
from cache.reading.reader import ActivationCache


def rebuild_ledger(path: Path) -> bool:
    """Replace a damaged `ledger.parquet` if it can be made anew, byte for byte.

    What it says follows from the shard files and `samples.parquet`, save for one thing: how many values were clipped is
    taken to be how many are at the limit of the dtype. Whether the result is what was lost is decided by its hash in
    `zarr.json`. The vision tokens of one shard for each Dask task are in memory.

    Args:
        path: folder of a complete cache whose `zarr.json` is sound.

    Returns:
        Whether it was replaced. It is not if a shard or `samples.parquet` is damaged as well, or if other versions of
        the software wrote it.
    """
    manifest, completion = read_root(path)
    if completion is None:
        return False
    candidate = path / f"{LEDGER_FILE}.rebuilt{PARTIAL_SUFFIX}"
    with ActivationCache(path, manifest, completion) as cache:
        try:
            records = computed(functools.partial(_record, cache), range(manifest.shards))
            rebuilt = write_ledger(candidate, records)
        except CacheError:
            return False
    if rebuilt != completion.files.get(LEDGER_FILE):
        candidate.unlink()
        return False
    candidate.replace(path / LEDGER_FILE)
    sync(path)
    return True


def _record(cache: ActivationCache, shard: int) -> ShardRecord:
    layouts = sharded_layouts(cache.manifest)
    samples = next(read_shards_of_samples(cache.path / SAMPLES_FILE, [shard]))
    images = np.array(cache.manifest.image_range(shard))
    paired = np.isin(images, samples["image_row"].to_numpy()[used_rows(samples)])
    captions = np.array(cache.manifest.caption_range(shard))
    first = shard * layouts["text/tokens"].shard_rows
    tokens = np.arange(first, first + np.sum(samples["tokens"].fill_null(0)))
    names = [layout.shard_file(shard) for layout in layouts.values()]
    return shard_record(
        cache.manifest,
        shard,
        samples,
        {name: file_written(cache.path / name) for name in names},
        _statistics(cache, "vision", images, images, np.flatnonzero(paired)),
        _statistics(cache, "text", tokens, captions, np.arange(len(tokens))),
    )


def _statistics(
    cache: ActivationCache,
    side: str,
    tokens: Int[np.ndarray, "row"],
    pooled: Int[np.ndarray, "row"],
    paired: Int[np.ndarray, "paired"],
) -> SideStatistics:
    """Statistics of one side of a shard, from all rows of its arrays, of the tokens those that are in a pair."""
    stored = cache.read_stored(f"{side}/tokens", tokens)
    overflow = _at_limit(stored) + _at_limit(cache.read_stored(f"{side}/pooled", pooled))
    return SideStatistics.of(stored.take(torch.from_numpy(paired)), overflow)


def _at_limit(stored: StoredRows) -> int:
    """How many values are the largest of their dtype; of int8, which is scaled to fit, none."""
    if stored.calibration is not None:
        return 0
    largest = torch.finfo(stored.values.dtype).max
    return int((stored.values.abs() == largest).sum())
