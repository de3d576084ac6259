"""What the ledger says of the chunks of every shard file: which one stands where."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt32

from cache.format.ledger_check import Checksums


class ChunkChecksums:
    """The CRC32C of each chunk of a cache, for any number of threads: a few bytes for each image and caption."""

    def __init__(self, read: Callable[[], Checksums]) -> None:
        """Take them from what `read` returns, which is called when the first is needed."""
        self._read = read

    def of(self, file: str) -> UInt32[np.ndarray, "chunk"]:
        """Those of the chunks of a shard file, by its path inside the cache, in order."""
        return np.frombuffer(self._known[file], "<u4")

    @functools.cached_property
    def _known(self) -> Checksums:
        return self._read()
