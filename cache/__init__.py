"""The activation cache: both sides of image-caption pairs, written once, checked, and read in any order.

The format is described in `docs/cache-format.md`; this package knows neither the models that the activations
come from nor what is done with them.
"""

from cache.activations import ShardActivations
from cache.batch import PairBatch
from cache.budget import DiskBudget, disk_budget
from cache.errors import (
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheIdentityError,
    CacheIncompleteError,
    CacheMissingError,
    DiskSpaceError,
    ShardContentError,
)
from cache.loader import PairLoader
from cache.manifest import Manifest, captions_of_shards
from cache.order import batch_indices
from cache.placement import Placement
from cache.reader import ActivationCache
from cache.samples import SAMPLES_SCHEMA
from cache.statistics import SideStatistics
from cache.writer import CacheWriter

__all__ = [
    "SAMPLES_SCHEMA",
    "ActivationCache",
    "CacheCorruptError",
    "CacheError",
    "CacheFormatError",
    "CacheIdentityError",
    "CacheIncompleteError",
    "CacheMissingError",
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
    "batch_indices",
    "captions_of_shards",
    "disk_budget",
]
