"""Where a cache is: a folder on disk, or a URL."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

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


def opened(file: Location) -> ByteSource:
    """Open a file for reading at any place. Raises OSError if it is on disk and cannot be opened."""
    return LocalSource(file) if isinstance(file, Path) else RemoteSource(file)


def file_size(file: Location) -> int:
    """Bytes of a file. Raises OSError if it is not there, and CacheRemoteError if its server fails."""
    return file.stat().st_size if isinstance(file, Path) else file.server.size(file.path)


@contextmanager
def on_disk(file: Location) -> Iterator[Path]:
    """A path on disk where the content of `file` is: its own, or that of a copy that is deleted afterwards.

    Raises:
        FileNotFoundError: there is no such file behind the URL.
        CacheRemoteError: its server fails.
    """
    if isinstance(file, Path):
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="concord-", suffix=f"-{file.name}") as copy:
        file.copy_to(copy)
        copy.flush()
        yield Path(copy.name)
