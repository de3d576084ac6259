"""Opening files on disk, of a cache or of a data set: regular files only.

A named pipe would keep whoever opens it waiting for ever, and opening a device may do anything.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnfitFileError(OSError):
    """What is at a path is no file to read: a pipe, a folder or a device, or of another size than it can have.

    Attributes:
        problem: what is wrong, and not where: "is a folder".
    """

    def __init__(self, problem: str, path: Path) -> None:
        super().__init__(None, problem, str(path))
        self.problem = problem


def regular_size(path: Path) -> int:
    """Bytes of a regular file. Raises OSError if there is none: UnfitFileError if there is something else."""
    try:
        return _checked(path.stat(), path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnfitFileError("is a link that leads to itself", path) from None
        raise


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, open for reading. Raises like `regular_size`."""
    regular_size(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may have been exchanged since
    try:
        _checked(os.fstat(descriptor), path)
        os.set_blocking(descriptor, True)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def regular_file(path: Path) -> BinaryIO:
    """A regular file, open for reading. Raises like `regular_size`."""
    return os.fdopen(open_regular(path), "rb")


def read_regular(path: Path, limit: int | None) -> bytes:
    """The content of a regular file. Raises like `regular_size`; UnfitFileError if it has more than `limit` bytes."""
    with regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise UnfitFileError(f"has {size} bytes, the limit is {limit}", path)
        return file.read(size)


def _checked(found: os.stat_result, path: Path) -> int:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise UnfitFileError(f"is {_KINDS.get(kind, 'no regular file')}", path)
    return found.st_size
