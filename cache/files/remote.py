"""Reading a cache in place behind a URL: `http(s)://`, or whatever else fsspec knows.

Everything is read in ranges of bytes, none larger than what is known of the file, and checked like files on disk.
What a connection loses is asked for again a few times; every other failure ends in an error that names the URL.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol, TypeVar

import aiohttp
import fsspec

from cache.errors import CacheRemoteError
from cache.files.http_files import HTTP_OPTIONS, HttpFiles, UnfitAnswerError
from cache.shown import shown_text

RETRY_DELAYS = (0.1, 0.5, 2.0)
"""Seconds to wait before a request whose connection failed is repeated for the first, second and third time."""

_BLOCK_BYTES = 8 << 20
"""Larger files are fetched in ranges of this size."""

Answer = TypeVar("Answer")


class _Files(Protocol):
    """The files of a server; each method raises FileNotFoundError, or whatever else the server's protocol has."""

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if the server does not tell."""

    def whole(self, path: str, limit: int) -> bytes:
        """The content of a file. Raises UnfitAnswerError if it has more than `limit` bytes."""

    def part(self, path: str, first: int | None, count: int) -> bytes:
        """`count` bytes of a file from `first` on, or the last ones if that is None, as far as the file has them."""


class _OtherFiles:
    """The files of whatever else fsspec knows, such as an object store."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def size(self, path: str) -> int | None:
        size: int | None = self._files.size(path)
        return size

    def whole(self, path: str, limit: int) -> bytes:
        content = self.part(path, 0, limit + 1)
        if len(content) > limit:
            raise UnfitAnswerError(f"the file has more than {limit} bytes")
        return content

    def part(self, path: str, first: int | None, count: int) -> bytes:
        start, stop = (-count, None) if first is None else (first, first + count)
        content: bytes = self._files.cat_file(path, start=start, end=stop)
        if len(content) > count:
            raise UnfitAnswerError(f"the server sends {len(content)} bytes, asked for were {count}")
        return content


class Server:
    """The file system behind a URL, with errors and repetitions as this package wants them."""

    def __init__(self, url: str) -> None:
        """Raises CacheRemoteError if no file system is known for `url`."""
        is_http = url.startswith(("http://", "https://"))
        try:
            options = HTTP_OPTIONS if is_http else {}
            self._system, self.root = fsspec.core.url_to_fs(url.rstrip("/"), **options)
        except (ValueError, ImportError) as error:
            raise CacheRemoteError(f"{url}: cannot be read from here: {error}") from None
        self._files: _Files = HttpFiles(self._system) if is_http else _OtherFiles(self._system)

    def url(self, path: str) -> str:
        """The URL of a path of this file system."""
        return str(self._system.unstrip_protocol(path))

    def size(self, path: str) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            CacheRemoteError: the server fails, or does not tell.
        """
        size = self._asked(path, lambda: self._files.size(path))
        if size is None:
            raise CacheRemoteError(f"{self.url(path)}: the server does not tell the size of this file")
        return size

    def whole(self, path: str, limit: int) -> bytes:
        """The content of a file of at most `limit` bytes.

        Raises:
            FileNotFoundError: there is no such file.
            CacheRemoteError: the file is larger, or the server fails, or stops before the end.
        """
        return self._asked(path, lambda: self._files.whole(path, limit))

    def part(self, path: str, first: int | None, count: int) -> bytes:
        """`count` bytes of a file from `first` on, or the last ones if that is None, as far as the file has them.

        Raises:
            FileNotFoundError: there is no such file.
            CacheRemoteError: the server fails, stops before the end, or sends other bytes than it was asked for.
        """
        return self._asked(path, lambda: self._files.part(path, first, count))

    def _asked(self, path: str, request: Callable[[], Answer]) -> Answer:
        for delay in (*RETRY_DELAYS, None):
            try:
                return request()
            except FileNotFoundError:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url(path)) from None
            except Exception as error:  # what a failure raises is up to each of fsspec's file systems
                if delay is None or not _connection_failed(error):
                    raise CacheRemoteError(
                        f"{self.url(path)}: cannot be read: {_described(error)}"
                    ) from error
                time.sleep(delay)
        raise AssertionError("unreachable")


class RemotePath:
    """A folder or file behind a URL, with as much of `pathlib.Path` as reading a cache takes."""

    def __init__(self, server: Server, path: str) -> None:
        """Refer to `path` on `server`; nothing is asked of the server yet."""
        self.server = server
        self.path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", maxsplit=1)[-1]

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.server, f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.server.url(self.path)

    def copy_to(self, file: IO[bytes], size: int) -> None:
        """Write the content, of at most `size` bytes, to an open file, a few megabytes at a time.

        Raises:
            FileNotFoundError: there is no such file.
            CacheRemoteError: the server fails, or the file is larger.
        """
        if size <= _BLOCK_BYTES:
            file.write(self.server.whole(self.path, size))
            return
        for first in range(0, size, _BLOCK_BYTES):
            count = min(_BLOCK_BYTES, size - first)
            block = self.server.part(self.path, first, count)
            if len(block) != count:
                raise CacheRemoteError(f"{self}: the server sent {len(block)} bytes of {count}")
            file.write(block)


class RemoteSource:
    """A file behind a URL as a `ByteSource`: each read is one request."""

    def __init__(self, path: RemotePath) -> None:
        """Refer to the file at `path`; nothing is asked of the server yet."""
        self._path = path

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """See `ByteSource`."""
        content = self._path.server.part(self._path.path, offset, sum(map(len, buffers)))
        place = 0
        for buffer in buffers:
            piece = content[place : place + len(buffer)]
            buffer[: len(piece)] = piece
            place += len(piece)
        return place

    def read_tail(self, length: int) -> bytes:
        """See `ByteSource`."""
        return self._path.server.part(self._path.path, None, length)


def _connection_failed(error: Exception) -> bool:
    """Whether the connection failed, and not the request: then it is worth repeating."""
    lost = (ConnectionError, TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    return isinstance(error, lost)


def _described(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the server answers {error.status} {shown_text(error.message)}"
    if _connection_failed(error):
        told = shown_text(error) or type(error).__name__
        return f"the connection failed {len(RETRY_DELAYS) + 1} times ({told})"
    if isinstance(error, UnfitAnswerError):
        return str(error)
    return shown_text(error) or type(error).__name__
