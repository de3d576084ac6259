"""The activation cache: both sides of image-caption pairs, written once, checked, and read in any order.

The format is described in `docs/cache-format.md`; this package knows neither the models that the activations
come from nor what is done with them. What loads torch or pyarrow is imported when it is first used:
options are read, and messages shown, without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cache.errors import (
    CacheAccessError,
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheIdentityError,
    CacheIncompleteError,
    CacheLockedError,
    CacheMissingError,
    CacheRemoteError,
    CacheReplacedError,
    CacheVersionError,
    DiskSpaceError,
    ShardContentError,
)
from cache.files.regular_file import UnfitFileError, read_regular, regular_file, regular_size
from cache.format.storage_options import STORAGE_DTYPES, StorageCodec, StorageDtype, refuse_codec
from cache.shown import shown_text, shown_value, visible

if TYPE_CHECKING:
    from cache.batch import PairBatch
    from cache.files.durable import DurableFile, sync
    from cache.files.lock import WriterLock
    from cache.format.manifest import Manifest, captions_of_shards, json_leaves
    from cache.format.position_means import PositionMeans
    from cache.format.samples import SAMPLES_SCHEMA
    from cache.format.statistics import SideStatistics
    from cache.format.storage import StoredRows
    from cache.loading.cached_pairs import CachedPairs, data_loader
    from cache.loading.derangement import DerangedCache
    from cache.loading.host_memory import available_host_bytes
    from cache.loading.loader import PairLoader
    from cache.loading.order import batch_indices, mixing
    from cache.loading.placement import Placement, choose_placement
    from cache.reading.reader import ActivationCache
    from cache.writing.activations import ShardActivations
    from cache.writing.budget import DiskBudget, disk_budget
    from cache.writing.resume import clear_cache
    from cache.writing.writer import CacheWriter

__all__ = [
    "SAMPLES_SCHEMA",
    "STORAGE_DTYPES",
    "ActivationCache",
    "CacheAccessError",
    "CacheCorruptError",
    "CacheError",
    "CacheFormatError",
    "CacheIdentityError",
    "CacheIncompleteError",
    "CacheLockedError",
    "CacheMissingError",
    "CacheRemoteError",
    "CacheReplacedError",
    "CacheVersionError",
    "CacheWriter",
    "CachedPairs",
    "DerangedCache",
    "DiskBudget",
    "DiskSpaceError",
    "DurableFile",
    "Manifest",
    "PairBatch",
    "PairLoader",
    "Placement",
    "PositionMeans",
    "ShardActivations",
    "ShardContentError",
    "SideStatistics",
    "StorageCodec",
    "StorageDtype",
    "StoredRows",
    "UnfitFileError",
    "WriterLock",
    "available_host_bytes",
    "batch_indices",
    "captions_of_shards",
    "choose_placement",
    "clear_cache",
    "data_loader",
    "disk_budget",
    "json_leaves",
    "mixing",
    "read_regular",
    "refuse_codec",
    "regular_file",
    "regular_size",
    "shown_text",
    "shown_value",
    "sync",
    "visible",
]

_HEAVY = {
    "batch": "PairBatch",
    "files.durable": "DurableFile sync",
    "files.lock": "WriterLock",
    "format.manifest": "Manifest captions_of_shards json_leaves",
    "format.position_means": "PositionMeans",
    "format.samples": "SAMPLES_SCHEMA",
    "format.statistics": "SideStatistics",
    "format.storage": "StoredRows",
    "loading.cached_pairs": "CachedPairs data_loader",
    "loading.derangement": "DerangedCache",
    "loading.host_memory": "available_host_bytes",
    "loading.loader": "PairLoader",
    "loading.order": "batch_indices mixing",
    "loading.placement": "Placement choose_placement",
    "reading.reader": "ActivationCache",
    "writing.activations": "ShardActivations",
    "writing.budget": "DiskBudget disk_budget",
    "writing.resume": "clear_cache",
    "writing.writer": "CacheWriter",
}
"""By module, what is imported later."""

_MODULE = {name: module for module, names in _HEAVY.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import what is heavy when it is first asked for (PEP 562)."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"cache.{_MODULE[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Name what is public, imported or not."""
    return __all__
