"""Making the records of a lost ledger anew from the shard files that they described."""

import functools
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from cache.errors import CacheCorruptError
from cache.files.durable import file_written
from cache.format.codecs import CODECS
from cache.format.layout import SAMPLES_FILE, ShardedLayout, sharded_layouts
from cache.format.ledger import ShardFile, ShardRecord, shard_record
from cache.format.manifest import Manifest
from cache.format.root import Completion
from cache.format.samples import read_shards_of_samples, used_rows
from cache.format.statistics import SideStatistics
from cache.format.storage import StoredRows
from cache.format.storage_options import StorageCodec
from cache.operations.file_check import read_chunk_checksums
from cache.operations.tasks import computed
from cache.reading.reader import ActivationCache


def rebuilt_records(path: Path, manifest: Manifest, completion: Completion) -> dict[int, ShardRecord]:
    """The records of all shards that are proven to be what was written, made anew without the ledger.

    What a record says follows from the shard's files and samples, save for one thing: how many values were clipped is
    taken to be how many are at the limit of the dtype. Whether all that is right is decided, shard by shard, by the
    record's hash in `zarr.json`. The vision tokens of one shard for each Dask task are in memory.

    Args:
        path: folder of a complete cache whose `zarr.json` is sound.
        manifest, completion: what is in that.
    """
    rebuilt = computed(functools.partial(_proven, path, manifest, completion), range(manifest.shards))
    return {record.shard: record for record in rebuilt if record is not None}


def _proven(path: Path, manifest: Manifest, completion: Completion, shard: int) -> ShardRecord | None:
    """The record of a shard; None if the shard is damaged, or its samples are."""
    try:
        record = _record(path, manifest, completion, shard)
    except (CacheCorruptError, OSError, ValueError):
        return None
    return record if record.content_sha256 == completion.shards[shard] else None


def _record(path: Path, manifest: Manifest, completion: Completion, shard: int) -> ShardRecord:
    layouts = sharded_layouts(manifest)
    samples = next(read_shards_of_samples(path / SAMPLES_FILE, [shard]))
    images = np.array(manifest.image_range(shard))
    paired = np.isin(images, samples["image_row"].to_numpy()[used_rows(samples)])
    captions = np.array(manifest.caption_range(shard))
    first = shard * layouts["text/tokens"].shard_rows
    tokens = np.arange(first, first + np.sum(samples["tokens"].fill_null(0)))
    files = {layout.shard_file(shard): _shard_file(path, layout, shard) for layout in layouts.values()}
    checksums = {name: file.crc32c for name, file in files.items()}
    with ActivationCache(path, manifest, completion, checksums) as cache:
        return shard_record(
            manifest,
            shard,
            samples,
            files,
            _statistics(cache, "vision", images, images, np.flatnonzero(paired)),
            _statistics(cache, "text", tokens, captions, np.arange(len(tokens))),
        )


def _shard_file(path: Path, layout: ShardedLayout, shard: int) -> ShardFile:
    """What is there of a shard. Raises ValueError or OSError if it is damaged or missing."""
    file = path / layout.shard_file(shard)
    checksums = read_chunk_checksums(file, layout)
    if None in checksums:
        raise ValueError(f"{file}: a chunk fails its CRC32C")
    return ShardFile(file_written(file), np.array(checksums, "<u4").tobytes())


def _statistics(
    cache: ActivationCache,
    side: str,
    tokens: Int[np.ndarray, "row"],
    pooled: Int[np.ndarray, "pooled_row"],
    paired: Int[np.ndarray, "paired"],
) -> SideStatistics:
    """Statistics of one side of a shard, from all rows of its arrays, of the tokens those that are in a pair."""
    stored = cache.read_stored(f"{side}/tokens", tokens)
    overflow = _at_limit(stored, cache.manifest.codec)
    overflow += _at_limit(cache.read_stored(f"{side}/pooled", pooled), "none")
    return SideStatistics.of(stored.take(torch.from_numpy(paired)), overflow)


def _at_limit(stored: StoredRows, codec: StorageCodec) -> int:
    """How many values are the largest that are stored; of int8, which is scaled to fit, none."""
    if stored.calibration is not None:
        return 0
    largest = CODECS[codec].largest(torch.finfo(stored.values.dtype).max)
    return int((stored.values.abs() == largest).sum())
