"""The activation cache: both sides of image-caption pairs, written once, checked, and read in any order.

The format is described in `docs/cache-format.md`; this package knows neither the models that the activations
come from nor what is done with them.
"""

from cache.activations import ShardActivations
from cache.batch import PairBatch
from cache.budget import DiskBudget, disk_budget
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
    DiskSpaceError,
    ShardContentError,
)
from cache.loader import PairLoader
from cache.manifest import Manifest, captions_of_shards
from cache.order import batch_indices, mixing
from cache.placement import Placement
from cache.reader import ActivationCache
from cache.resume import clear_cache
from cache.samples import SAMPLES_SCHEMA
from cache.statistics import SideStatistics
from cache.storage import STORAGE_DTYPES, StorageDtype, StoredRows
from cache.writer import CacheWriter

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
    "CacheWriter",
    "DiskBudget",
    "DiskSpaceError",
    "Manifest",
    "PairBatch",
    "PairLoader",
    "Placement",
    "ShardActivations",
    "ShardContentError",
    "SideStatistics",
    "StorageDtype",
    "StoredRows",
    "batch_indices",
    "captions_of_shards",
    "clear_cache",
    "disk_budget",
    "mixing",
]
