"""The last step of writing: what can only be known when every shard is there."""

import functools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import LocalStore

from cache.consolidated import consolidate_groups
from cache.durable import sync
from cache.layout import LEDGER_FILE, SAMPLES_FILE, sharded_layouts, write_root
from cache.ledger import ShardRecord, shard_samples_name, write_ledger
from cache.manifest import Manifest
from cache.samples import number_pairs, read_samples, write_samples
from cache.statistics import QUANTILES, SideStatistics


def finish_cache(path: Path, manifest: Manifest, records: Mapping[int, ShardRecord]) -> None:
    """Write samples, caption positions, statistics and ledger, then mark the cache complete.

    Every step replaces what an interrupted earlier attempt left; the last one, the group document, is atomic.
    """
    ordered = [records[shard] for shard in range(manifest.shards)]
    write_samples(path / SAMPLES_FILE, _numbered_samples(path, ordered))
    _write_caption_positions(path, manifest)
    _write_statistics(path, ordered)
    write_ledger(path / LEDGER_FILE, ordered)
    consolidate_groups(path)
    for entry in (path, *path.rglob("*")):
        if entry.is_dir() or entry.parent.name in {"starts", "lengths"} or "statistics" in entry.parts:
            sync(entry)
    totals = {
        name: sum(getattr(record, name) for record in ordered)
        for name in ("images", "captions", "tokens", "pairs", "skipped")
    }
    write_root(path, manifest, totals)


def _numbered_samples(path: Path, records: list[ShardRecord]) -> Iterator[pa.Table]:
    first = 0
    for record in records:
        yield number_pairs(read_samples(path / shard_samples_name(record.shard)), first)
        first += record.pairs


def _write_caption_positions(path: Path, manifest: Manifest) -> None:
    """`text/starts` and `text/lengths`: int64 [caption], the rows of `text/tokens` that each caption has."""
    layouts = sharded_layouts(manifest)
    lengths = np.zeros(layouts["text/pooled"].shape[0], np.int64)
    starts = np.zeros_like(lengths)
    samples = read_samples(path / SAMPLES_FILE, ["caption_row", "tokens"])
    samples = samples.filter(samples["caption_row"].is_valid())
    lengths[samples["caption_row"].to_numpy()] = samples["tokens"].to_numpy()
    for shard in range(manifest.shards):
        captions = slice(manifest.caption_range(shard).start, manifest.caption_range(shard).stop)
        first = shard * layouts["text/tokens"].shard_rows
        starts[captions] = first + np.cumsum(lengths[captions]) - lengths[captions]
    _write_array(path, "text/starts", starts, ("caption",))
    _write_array(path, "text/lengths", lengths, ("caption",))


def _write_statistics(path: Path, records: list[ShardRecord]) -> None:
    shutil.rmtree(path / "statistics", ignore_errors=True)
    store = LocalStore(path)
    zarr.open_group(store, path="statistics", mode="a", zarr_format=3)
    sides = {
        "vision": functools.reduce(SideStatistics.merge, (record.vision for record in records)),
        "text": functools.reduce(SideStatistics.merge, (record.text for record in records)),
    }
    for side, statistics in sides.items():
        zarr.open_group(store, path=f"statistics/{side}", mode="a", zarr_format=3)
        quantiles = statistics.norm_quantiles
        arrays: dict[str, tuple[NDArray[np.generic], tuple[str, ...]]] = {
            "count": (np.array(statistics.count, np.int64), ()),
            "overflow": (np.array(statistics.overflow, np.int64), ()),
            "mean": (statistics.mean, ("channel",)),
            "variance": (statistics.variance, ("channel",)),
            "squared_deviation": (statistics.squared_deviation, ("channel",)),
            "norm_bins": (statistics.norm_bins, ("norm_bin",)),
            "norm_counts": (statistics.norm_counts, ("norm_bin",)),
            "quantile": (np.array(QUANTILES), ("quantile",)),
            "norm_quantiles": (np.array([quantiles.get(q, np.nan) for q in QUANTILES]), ("quantile",)),
        }
        for name, (values, dimensions) in arrays.items():
            _write_array(path, f"statistics/{side}/{name}", values, dimensions)


def _write_array(path: Path, name: str, values: NDArray[np.generic], dimensions: tuple[str, ...]) -> None:
    """A small array in one chunk with a CRC32C."""
    array = zarr.create_array(
        LocalStore(path),
        name=name,
        shape=values.shape,
        chunks=tuple(max(1, length) for length in values.shape),
        dtype=values.dtype.newbyteorder("<"),
        filters=None,
        serializer=BytesCodec(endian="little"),
        compressors=[Crc32cCodec()],
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=dimensions or None,
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    array[...] = values
