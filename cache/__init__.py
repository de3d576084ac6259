"""The activation cache: both sides of image-caption pairs, written once, checked, and read in any order.

The format is described in `docs/cache-format.md`; this package knows neither the models that the activations
come from nor what is done with them.
"""

from cache.batch import PairBatch
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
from cache.files.durable import DurableFile, sync
from cache.files.lock import WriterLock
from cache.files.regular_file import UnfitFileError, read_regular, regular_file, regular_size
from cache.format.manifest import Manifest, captions_of_shards, json_leaves
from cache.format.samples import SAMPLES_SCHEMA
from cache.format.statistics import SideStatistics
from cache.format.storage import STORAGE_DTYPES, StorageDtype, StoredRows
from cache.loading.host_memory import available_host_bytes
from cache.loading.loader import PairLoader
from cache.loading.order import batch_indices, mixing
from cache.loading.placement import Placement, choose_placement
from cache.reading.reader import ActivationCache
from cache.shown import shown_text, shown_value, visible
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
    "DiskBudget",
    "DiskSpaceError",
    "DurableFile",
    "Manifest",
    "PairBatch",
    "PairLoader",
    "Placement",
    "ShardActivations",
    "ShardContentError",
    "SideStatistics",
    "StorageDtype",
    "StoredRows",
    "UnfitFileError",
    "WriterLock",
    "available_host_bytes",
    "batch_indices",
    "captions_of_shards",
    "choose_placement",
    "clear_cache",
    "disk_budget",
    "json_leaves",
    "mixing",
    "read_regular",
    "regular_file",
    "regular_size",
    "shown_text",
    "shown_value",
    "sync",
    "visible",
]
