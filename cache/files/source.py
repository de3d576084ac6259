"""Files of a cache, open for reading at any place: on disk here, behind a URL in `cache.files.remote`."""

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cache.files.regular_file import open_regular


class ByteSource(Protocol):
    """One open file, for any number of threads at once; it is closed when nobody refers to it any more."""

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill the buffers, one after another, with the bytes from `offset` on.

        Returns:
            how many bytes were read: fewer than the buffers hold only if the file ends before.

        Raises:
            OSError: the disk fails.
            CacheRemoteError: the server fails.
        """

    def read_tail(self, length: int) -> bytes:
        """The last `length` bytes, or all of a shorter file. Raises like `read_into`."""


class LocalSource:
    """A file on disk, read with `preadv` straight into the caller's buffers."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`. Raises OSError if it cannot be, or is no regular file."""
        self._descriptor = open_regular(path)
        weakref.finalize(self, os.close, self._descriptor)

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """See `ByteSource`."""
        return os.preadv(self._descriptor, buffers, offset)

    def read_tail(self, length: int) -> bytes:
        """See `ByteSource`."""
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, length, max(0, size - length))
