"""The last step of writing: what can only be known when every shard is there."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.durable import WrittenFile, write_durably
from cache.layout import LEDGER_FILE, SAMPLES_FILE, sharded_layouts
from cache.ledger import ShardRecord, shard_samples_name, write_ledger
from cache.manifest import Manifest
from cache.metadata import as_bytes, group_document
from cache.root import TOTALS, Completion, write_root
from cache.samples import number_pairs, read_samples, write_samples
from cache.small_array import write_small_array
from cache.statistics import QUANTILES, merge_all


def finish_cache(path: Path, manifest: Manifest, records: Mapping[int, ShardRecord]) -> None:
    """Write samples, caption positions, statistics and ledger, then mark the cache complete.

    Every step replaces what an interrupted earlier attempt left; the last one, the group document, is atomic.
    """
    ordered = [records[shard] for shard in range(manifest.shards)]
    files = {SAMPLES_FILE: write_samples(path / SAMPLES_FILE, _numbered_samples(path, ordered))}
    _write_caption_positions(path, manifest, files[SAMPLES_FILE])
    _write_statistics(path, ordered)
    files[LEDGER_FILE] = write_ledger(path / LEDGER_FILE, ordered)
    for group in ("vision", "text"):
        write_durably(path / group / "zarr.json", as_bytes(group_document(path / group, {})))
    totals = {name: sum(getattr(record, name) for record in ordered) for name in TOTALS}
    write_root(path, manifest, Completion(totals, files))


def _numbered_samples(path: Path, records: list[ShardRecord]) -> Iterator[pa.Table]:
    first = 0
    for record in records:
        name = shard_samples_name(record.shard)
        yield number_pairs(read_samples(path / name, record.files.get(name)), first)
        first += record.pairs


def _write_caption_positions(path: Path, manifest: Manifest, samples_file: WrittenFile) -> None:
    """`text/starts` and `text/lengths`: int64 [caption], the rows of `text/tokens` that each caption has."""
    layouts = sharded_layouts(manifest)
    lengths = np.zeros(layouts["text/pooled"].shape[0], np.int64)
    starts = np.zeros_like(lengths)
    samples = read_samples(path / SAMPLES_FILE, samples_file, ["caption_row", "tokens"])
    samples = samples.filter(samples["caption_row"].is_valid())
    lengths[samples["caption_row"].to_numpy()] = samples["tokens"].to_numpy()
    for shard in range(manifest.shards):
        captions = slice(manifest.caption_range(shard).start, manifest.caption_range(shard).stop)
        first = shard * layouts["text/tokens"].shard_rows
        starts[captions] = first + np.cumsum(lengths[captions]) - lengths[captions]
    write_small_array(path, "text/starts", starts, "caption")
    write_small_array(path, "text/lengths", lengths, "caption")


def _write_statistics(path: Path, records: list[ShardRecord]) -> None:
    """`statistics/vision` and `statistics/text`: mean, variance and norm quantiles; count and overflow as attributes.

    Readers that have the ledger merge its records instead; these arrays are for everybody else.
    """
    folder = path / "statistics"
    shutil.rmtree(folder, ignore_errors=True)
    for side in ("vision", "text"):
        statistics = merge_all(getattr(record, side) for record in records)
        quantiles = statistics.norm_quantiles
        arrays: dict[str, tuple[NDArray[np.float64], str]] = {
            "mean": (statistics.mean, "channel"),
            "variance": (statistics.variance, "channel"),
            "quantile": (np.array(QUANTILES), "quantile"),
            "norm_quantiles": (np.array([quantiles.get(q, np.nan) for q in QUANTILES]), "quantile"),
        }
        for name, (values, dimension) in arrays.items():
            write_small_array(path, f"statistics/{side}/{name}", values, dimension)
        attributes = {"count": statistics.count, "overflow": statistics.overflow}
        write_durably(folder / side / "zarr.json", as_bytes(group_document(folder / side, attributes)))
    write_durably(folder / "zarr.json", as_bytes(group_document(folder, {})))
