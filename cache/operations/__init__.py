"""What is done with whole caches: describe, verify, repair, select, merge, convert, export.

The work is cut into Dask tasks, one for each shard or file, and a stated number of them is in memory at a time. Sums
over all of a cache are those of Dask arrays: `cache.operations.lost_variance` says why the rest are not.
"""

from cache.operations.convert import convert
from cache.operations.export import ExportFormat, export
from cache.operations.info import CacheInfo, cache_info
from cache.operations.merge import merge
from cache.operations.repair import repair_records
from cache.operations.selection import Selection, select_pairs
from cache.operations.subset import subset
from cache.operations.tasks import OnProgress
from cache.operations.verification import Problem, Verification
from cache.operations.verify import locked, verify

__all__ = [
    "CacheInfo",
    "ExportFormat",
    "OnProgress",
    "Problem",
    "Selection",
    "Verification",
    "cache_info",
    "convert",
    "export",
    "locked",
    "merge",
    "repair_records",
    "select_pairs",
    "subset",
    "verify",
]
