"""Reading a file that a data set names, which must be a regular one: a named pipe would be waited for without end."""

import errno
from pathlib import Path

from cache import UnfitFileError, read_regular, regular_size
from pipeline.errors import DatasetError, os_error_reason

_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR)


class IrregularFileError(DatasetError):
    """A path that leads to something other than a regular file.

    Attributes:
        reason: to what, and not where, so that it is the same on every machine: "is a folder".
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class ImpossibleNameError(IrregularFileError):
    """A path that no file of this file system can have."""


def file_size(path: Path) -> int | None:
    """Look up the size of a regular file in bytes, None when there is no such file.

    Raises:
        ImpossibleNameError: the name is too long, or has a character that no name can have.
        IrregularFileError: a folder, a named pipe, a socket, a device, or a link to itself.
        DatasetError: the file system fails or forbids to look.
    """
    try:
        return regular_size(path)
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            return None
        raise _unreadable(path, error) from error
    except ValueError:  # a null byte, or a character that the file system's encoding lacks
        raise ImpossibleNameError(path, "has a character that no file's name can have") from None


def read_regular_file(path: Path, limit: int | None = None) -> bytes:
    """Read a whole file into memory, without ever waiting for what is not a file.

    Args:
        path: the file; links are followed.
        limit: most bytes that are read; None for no limit.

    Raises:
        IrregularFileError: as `file_size`, or the file is larger than `limit`.
        DatasetError: there is no such file, it may not be read, or the disk fails.
    """
    try:
        return read_regular(path, limit)
    except OSError as error:
        raise _unreadable(path, error) from error
    except MemoryError as error:
        raise DatasetError(f"{path}: cannot be read: no memory is left for it") from error


def _unreadable(path: Path, error: OSError) -> DatasetError:
    if isinstance(error, UnfitFileError):
        return IrregularFileError(path, error.problem)
    if error.errno == errno.ENAMETOOLONG:
        return ImpossibleNameError(path, "is too long a name for this file system")
    return DatasetError(f"{path}: cannot be read: {os_error_reason(error)}")
