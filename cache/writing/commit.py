"""Committing one shard: its files and samples durable, its statistics computed beside, then its record."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from cache.files.durable import WrittenFile, sync
from cache.format.layout import LEDGER_FOLDER, sharded_layouts
from cache.format.ledger import ShardFile, ShardRecord, commit, shard_record, shard_samples_name
from cache.format.manifest import Manifest
from cache.format.samples import used_rows, write_samples
from cache.format.statistics import SideStatistics
from cache.writing.activations import StoredShard
from cache.writing.shard import write_shard_file


def commit_shard(
    path: Path, manifest: Manifest, shard: int, stored: StoredShard, samples: pa.Table
) -> ShardRecord:
    """Write one shard of the cache at `path` so that it survives a crash from here on; return its record.

    Args:
        path: folder of the cache.
        manifest: of the cache.
        shard: number of the shard.
        stored: its arrays.
        samples: its samples, `pair` still null.

    Raises:
        OSError: a file cannot be written; the shard is not committed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="statistics") as beside:
        statistics = beside.submit(_statistics, manifest.image_range(shard), stored, samples)
        files, written = _write_files(path, manifest, shard, stored, samples)
        record = replace(shard_record(manifest, shard, samples, files, *statistics.result()), samples=written)
    commit(path, record)
    return record


def _write_files(
    path: Path, manifest: Manifest, shard: int, stored: StoredShard, samples: pa.Table
) -> tuple[dict[str, ShardFile], WrittenFile]:
    """Write the shard's files and its samples durably, together: most are small and would wait for the disk."""
    layouts = sharded_layouts(manifest)
    names = [layout.shard_file(shard) for layout in layouts.values()]
    with ThreadPoolExecutor(1 + len(layouts), thread_name_prefix="file") as pool:
        samples_written = pool.submit(write_samples, path / shard_samples_name(shard), [samples])
        written = pool.map(
            write_shard_file,
            [path / name for name in names],
            layouts.values(),
            [stored.arrays[array] for array in layouts],
        )
        files = dict(zip(names, written, strict=True))
        of_samples = samples_written.result()
        list(pool.map(sync, [path / folder for folder in (*layouts, LEDGER_FOLDER)]))
    return files, of_samples


def _statistics(
    images: range, stored: StoredShard, samples: pa.Table
) -> tuple[SideStatistics, SideStatistics]:
    """Statistics of the vision and of the text tokens that are in a pair, of a shard of these image rows."""
    paired = np.unique(samples["image_row"].to_numpy()[used_rows(samples)]) - images.start
    vision = stored.tokens("vision")
    if len(paired) < len(images):
        vision = vision.take(torch.from_numpy(paired))
    return (
        SideStatistics.of(vision, stored.vision_overflow),
        SideStatistics.of(stored.tokens("text"), stored.text_overflow),
    )
