"""One writer at a time: a lock on a folder that leaves no file behind and dies with its owner."""

import fcntl
import os
import warnings
import weakref
from pathlib import Path
from typing import Self

from cache.errors import CacheLockedError


class WriterLock:
    """An exclusive `flock` on the folder itself, held until `release` or the end of the process.

    The kernel releases it however the process ends, `kill -9` included. Readers take no lock. Where the file system
    has no locks (some network file systems), a warning says so and writing goes on unprotected.
    """

    def __init__(self, folder: Path, kind: str = "cache") -> None:
        """Take the lock of an existing folder.

        Args:
            folder: what is going to be written.
            kind: what the folder is, for the message.

        Raises:
            CacheLockedError: another writer holds it; names its process if the kernel tells.
            OSError: the folder cannot be opened.
        """
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(descriptor)
            self.release()
            raise CacheLockedError(
                f"{folder}: {owner} is writing this {kind}; wait until it is done, or end it and run this again"
            ) from None
        except OSError as error:
            warnings.warn(
                f"{folder}: its file system has no locks ({error.strerror}); let nothing else write it",
                stacklevel=2,
            )

    def release(self) -> None:
        """Let the next writer in; releasing twice does no harm."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _owner(descriptor: int) -> str:
    """Which process holds the lock of an open file, as far as the kernel tells."""
    status = os.fstat(descriptor)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        locks = ""
    for fields in map(str.split, locks.splitlines()):
        if fields[1] == "FLOCK" and fields[5] == file and int(fields[4]) > 0:
            return f"process {fields[4]}"
    return "another process"
