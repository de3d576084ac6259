"""Where a cache is: a folder on disk, or a URL."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from cache.errors import DiskSpaceError
from cache.files.regular_file import UnfitFileError, read_regular, regular_size
from cache.files.remote import RemotePath, RemoteSource, Server
from cache.files.source import ByteSource, LocalSource

Location: TypeAlias = Path | RemotePath
"""A folder or a file of a cache."""


def located(path: Path | str) -> Location:
    """The location that a user means by `path`: a URL such as `https://host/NAME.zarr`, or else a path on disk.

    Raises:
        CacheRemoteError: no file system is known for the URL.
    """
    text = str(path)
    if isinstance(path, Path) or ("://" not in text and "::" not in text):
        return Path(path)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    server = Server(text)
    return RemotePath(server, server.root)


DOCUMENT_BYTES = 16 << 20
"""Most bytes of a JSON document of a cache: enough to list a hundred thousand shards."""


def opened(file: Location) -> ByteSource:
    """Open a file for reading at any place. Raises OSError if it is on disk and cannot be opened, or is no file."""
    return LocalSource(file) if isinstance(file, Path) else RemoteSource(file)


def file_size(file: Location) -> int:
    """Bytes of a file. Raises OSError if it is not there, and CacheRemoteError if its server fails."""
    return regular_size(file) if isinstance(file, Path) else file.server.size(file.path)


def read_whole(file: Location, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes; of a larger one, nothing is read.

    Raises:
        OSError: there is no such file, it cannot be read, or it is larger.
        CacheRemoteError: its server fails, or the file behind the URL is larger.
    """
    return read_regular(file, limit) if isinstance(file, Path) else file.server.whole(file.path, limit)


def read_document(file: Location) -> Any:
    """The JSON document in a file of at most `DOCUMENT_BYTES`.

    Raises:
        ValueError: it is not JSON, or nested deeper than anything that a cache holds.
        OSError, CacheRemoteError: as `read_whole`.
    """
    try:
        return json.loads(read_whole(file, DOCUMENT_BYTES))
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextmanager
def on_disk(file: Location, size: int) -> Iterator[Path]:
    """A path on disk where the content of `file` is: its own, or that of a copy that is deleted afterwards.

    Args:
        file: where the content is.
        size: bytes that it should have; of what has another size, nothing is copied.

    Raises:
        OSError: there is no such file, or it has another size.
        CacheRemoteError: the server of a file behind a URL fails.
        DiskSpaceError: there is no room for the copy.
    """
    if (found := file_size(file)) != size:
        raise UnfitFileError(f"has {found} bytes, {size} were written", Path(file.name))
    if isinstance(file, Path):
        yield file
        return
    folder = tempfile.gettempdir()
    if size > (free := shutil.disk_usage(folder).free):
        raise DiskSpaceError(
            f"{file}: is copied to {folder} to be read, and has {size} bytes; {free} are free there. Make room, or set "
            "TMPDIR to another folder"
        )
    with tempfile.NamedTemporaryFile(prefix="concord-", suffix=f"-{file.name}") as copy:
        file.copy_to(copy, size)
        copy.flush()
        yield Path(copy.name)
