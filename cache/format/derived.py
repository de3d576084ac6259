"""The files of a finished cache that follow from its shards: metadata, caption positions, statistics.

They are written when a cache is finished, and made again in memory when it is verified.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import CacheFormatError
from cache.format.layout import SAMPLES_FILE, sharded_layouts
from cache.format.ledger import ShardRecord
from cache.format.manifest import Manifest
from cache.format.metadata import as_bytes, group_of
from cache.format.small_array import small_array_content, small_array_document
from cache.format.statistics import QUANTILES, SideStatistics, merge_all

CAPTION_COLUMNS = ["caption_row", "tokens"]
"""Columns of samples.parquet that the positions of the captions follow from."""

Documents = dict[str, dict[str, Any]]
"""`zarr.json` of arrays and groups by their path inside the cache."""


class Derived(NamedTuple):
    """What follows from the shards of a cache.

    Attributes:
        documents: of all arrays and groups but the cache itself, members before their group.
        files: content by path inside the cache: those documents, and the chunks of the small arrays.
    """

    documents: Documents
    files: dict[str, bytes]


class _SmallArray(NamedTuple):
    values: NDArray[np.int64] | NDArray[np.float64]
    dimension: str


def derived(manifest: Manifest, records: Sequence[ShardRecord], captions: pa.Table) -> Derived:
    """Everything that the manifest, the records of all shards in order and `CAPTION_COLUMNS` of samples imply.

    Raises:
        CacheFormatError: the samples give captions rows, or tokens, that the cache's arrays do not have.
    """
    statistics = {side: merge_all(getattr(record, side) for record in records) for side in ("vision", "text")}
    arrays = _caption_positions(manifest, captions)
    for side, of_side in statistics.items():
        arrays |= _statistics_arrays(side, of_side)
    documents = {name: layout.document() for name, layout in sharded_layouts(manifest).items()}
    documents |= {name: small_array_document(*array) for name, array in arrays.items()}
    for side, of_side in statistics.items():
        attributes = {"count": of_side.count, "overflow": of_side.overflow}
        documents[f"statistics/{side}"] = _group(f"statistics/{side}", attributes, documents)
    for group in ("statistics", "vision", "text"):
        documents[group] = _group(group, {}, documents)
    files = {f"{name}/c.0": small_array_content(array.values) for name, array in arrays.items()}
    files |= {f"{name}/zarr.json": as_bytes(document) for name, document in documents.items()}
    return Derived(documents, files)


def _group(name: str, attributes: dict[str, Any], documents: Documents) -> dict[str, Any]:
    inside = f"{name}/"
    members = {
        path.removeprefix(inside): document for path, document in documents.items() if path.startswith(inside)
    }
    return group_of(members, attributes)


def _caption_positions(manifest: Manifest, captions: pa.Table) -> dict[str, _SmallArray]:
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
    return {"text/starts": _SmallArray(starts, "caption"), "text/lengths": _SmallArray(lengths, "caption")}


def _within(numbers: NDArray[np.int64], largest: int) -> bool:
    return bool(np.all((numbers >= 0) & (numbers <= largest)))


def _statistics_arrays(side: str, statistics: SideStatistics) -> dict[str, _SmallArray]:
    """`statistics/SIDE/*`. Readers that have the ledger merge its records; these are for everybody else."""
    quantiles = statistics.norm_quantiles
    arrays = {
        "mean": _SmallArray(statistics.mean, "channel"),
        "variance": _SmallArray(statistics.variance, "channel"),
        "quantile": _SmallArray(np.array(QUANTILES), "quantile"),
        "norm_quantiles": _SmallArray(np.array([quantiles.get(q, np.nan) for q in QUANTILES]), "quantile"),
    }
    return {f"statistics/{side}/{name}": array for name, array in arrays.items()}
