"""The files of a finished cache that follow from its shards: metadata, caption positions, statistics.

They are written when a cache is finished, and made again in memory when it is verified.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import CacheFormatError
from cache.format.hierarchy import Hierarchy
from cache.format.layout import SAMPLES_FILE, array_hierarchy, sharded_layouts
from cache.format.ledger import ShardRecord
from cache.format.manifest import Manifest
from cache.format.position_means import PositionMeans
from cache.format.statistics import QUANTILES, SideStatistics, merge_all

_GROUPS = ("statistics/vision", "statistics/text", "statistics", "vision", "text")
"""From the innermost on, as the metadata of a group goes into that of the one around it."""

CAPTION_COLUMNS = ["caption_row", "tokens"]
"""Columns of samples.parquet that the positions of the captions follow from."""


def derived(manifest: Manifest, records: Sequence[ShardRecord], captions: pa.Table) -> Hierarchy:
    """Everything that the manifest, the records of all shards in order and `CAPTION_COLUMNS` of samples imply.

    The groups are still to be consolidated.

    Raises:
        CacheFormatError: the samples give captions rows, or tokens, that the cache's arrays do not have.
    """
    hierarchy = array_hierarchy(manifest)
    for name, rows in _caption_positions(manifest, captions).items():
        hierarchy.add_values(name, rows, "caption")
    for side in ("vision", "text"):
        _add_statistics(hierarchy, side, merge_all(getattr(record, side) for record in records))
    return hierarchy


def add_position_means(hierarchy: Hierarchy, means: Mapping[str, PositionMeans]) -> None:
    """Add the means by position of "vision" and "text" to what is `derived`."""
    for side, of_side in means.items():
        group = f"statistics/{side}"
        hierarchy.add_values(f"{group}/position_count", of_side.count, "position")
        hierarchy.add_values(f"{group}/position_mean", of_side.mean, "position", "channel")


def consolidate_groups(hierarchy: Hierarchy) -> None:
    """Consolidate every group of what is `derived`, once all its arrays are there."""
    for group in _GROUPS:
        hierarchy.consolidate(group)


def _caption_positions(manifest: Manifest, captions: pa.Table) -> dict[str, NDArray[np.int64]]:
    """`text/starts` and `text/lengths`: int64 [caption], the rows of `text/tokens` that each caption has."""
    layouts = sharded_layouts(manifest)
    lengths = np.zeros(layouts["text/pooled"].shape[0], np.int64)
    starts = np.zeros_like(lengths)
    captions = captions.filter(captions["caption_row"].is_valid())
    rows, tokens = captions["caption_row"].to_numpy(), captions["tokens"].fill_null(-1).to_numpy()
    if not (_within(rows, len(lengths) - 1) and _within(tokens, manifest.context_length)):
        raise CacheFormatError(f"{SAMPLES_FILE}: gives captions rows or tokens that the arrays do not have")
    lengths[rows] = tokens
    for shard in range(manifest.shards):
        rows = slice(manifest.caption_range(shard).start, manifest.caption_range(shard).stop)
        first = shard * layouts["text/tokens"].shard_rows
        starts[rows] = first + np.cumsum(lengths[rows]) - lengths[rows]
    return {"text/starts": starts, "text/lengths": lengths}


def _within(numbers: NDArray[np.int64], largest: int) -> bool:
    return bool(np.all((numbers >= 0) & (numbers <= largest)))


def _add_statistics(hierarchy: Hierarchy, side: str, statistics: SideStatistics) -> None:
    """Add `statistics/SIDE`. Readers that have the ledger merge its records; this is for everybody else."""
    group, quantiles = f"statistics/{side}", statistics.norm_quantiles
    hierarchy.set_attributes(group, {"count": statistics.count, "overflow": statistics.overflow})
    hierarchy.add_values(f"{group}/mean", statistics.mean, "channel")
    hierarchy.add_values(f"{group}/variance", statistics.variance, "channel")
    hierarchy.add_values(f"{group}/quantile", np.array(QUANTILES), "quantile")
    norms = np.array([quantiles.get(quantile, np.nan) for quantile in QUANTILES])
    hierarchy.add_values(f"{group}/norm_quantiles", norms, "quantile")
