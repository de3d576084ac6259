"""Reading a cache in place behind a URL: `http(s)://`, or whatever else fsspec knows.

Everything is read in ranges of bytes, and checked like files on disk. What a connection loses is asked for again a few
times; every other failure ends in an error that names the URL.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import fsspec

from cache.errors import CacheRemoteError

RETRY_DELAYS = (0.1, 0.5, 2.0)
"""Seconds to wait before a request whose connection failed is repeated for the first, second and third time."""

SILENCE = 30.0
"""Seconds without a byte after which an HTTP connection has failed."""

_BLOCK_BYTES = 8 << 20
"""Larger files are fetched in ranges of this size."""

Answer = TypeVar("Answer")


class Server:
    """The file system behind a URL, with errors and repetitions as this package wants them."""

    def __init__(self, url: str) -> None:
        """Raises CacheRemoteError if no file system is known for `url`."""
        options = {}
        if url.startswith(("http://", "https://")):
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
            options = {"client_kwargs": {"timeout": timeout}}
        try:
            self._files, self.root = fsspec.core.url_to_fs(url.rstrip("/"), **options)
        except (ValueError, ImportError) as error:
            raise CacheRemoteError(f"{url}: cannot be read from here: {error}") from None
        self._lock = threading.Lock()
        self._sends_ranges = False

    def url(self, path: str) -> str:
        """The URL of a path of this file system."""
        return str(self._files.unstrip_protocol(path))

    def size(self, path: str) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            CacheRemoteError: the server fails, or does not tell.
        """
        size = self._asked(path, lambda: self._files.size(path))
        if size is None:
            raise CacheRemoteError(f"{self.url(path)}: the server does not tell the size of this file")
        return int(size)

    def whole(self, path: str) -> bytes:
        """The content of a file. Raises like `size`."""
        content: bytes = self._asked(path, lambda: self._files.cat_file(path))
        return content

    def part(self, path: str, start: int, stop: int | None = None) -> bytes:
        """Bytes `start` to `stop` of a file, as far as it has them; a negative `start` counts from its end.

        Raises:
            FileNotFoundError: there is no such file.
            CacheRemoteError: the server fails, stops before the end, or sends more than was asked for.
        """
        self._refuse_without_ranges()
        wanted = -start if stop is None else stop - start
        content = self._asked(path, lambda: self._range(path, start, stop))
        if len(content) > wanted:
            raise CacheRemoteError(
                f"{self.url(path)}: the server sent {len(content)} bytes when asked for {wanted}"
            )
        return content

    def _range(self, path: str, start: int, stop: int | None) -> bytes:
        try:
            content: bytes = self._files.cat_file(path, start=start, end=stop)
        except aiohttp.ClientResponseError as error:
            if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file ends before `start`
                return b""
            raise
        return content

    def _refuse_without_ranges(self) -> None:
        """Find out on a small file, once, rather than from a shard of hundreds of megabytes."""
        with self._lock:
            if not self._sends_ranges:
                path = f"{self.root}/zarr.json"
                if len(self._asked(path, lambda: self._range(path, 0, 1))) != 1:
                    raise CacheRemoteError(
                        f"{self.url(self.root)}: the server ignores byte ranges and would send whole files for each "
                        "image; serve the folder with one that supports them (nginx, Caddy, S3), or copy it to disk"
                    )
                self._sends_ranges = True

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

    def read_bytes(self) -> bytes:
        """The content of the file. Raises FileNotFoundError, and CacheRemoteError if the server fails."""
        return self.server.whole(self.path)

    def copy_to(self, file: Any) -> None:
        """Write the content to an open binary file, a few megabytes at a time. Raises like `read_bytes`."""
        size = self.server.size(self.path)
        if size <= _BLOCK_BYTES:
            file.write(self.read_bytes())
            return
        for start in range(0, size, _BLOCK_BYTES):
            stop = min(start + _BLOCK_BYTES, size)
            block = self.server.part(self.path, start, stop)
            if len(block) != stop - start:
                raise CacheRemoteError(f"{self}: the server sent {len(block)} bytes of {stop - start}")
            file.write(block)


class RemoteSource:
    """A file behind a URL as a `ByteSource`: each read is one request."""

    def __init__(self, path: RemotePath) -> None:
        """Refer to the file at `path`; nothing is asked of the server yet."""
        self._path = path

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """See `ByteSource`."""
        content = self._path.server.part(self._path.path, offset, offset + sum(map(len, buffers)))
        place = 0
        for buffer in buffers:
            piece = content[place : place + len(buffer)]
            buffer[: len(piece)] = piece
            place += len(piece)
        return place

    def read_tail(self, length: int) -> bytes:
        """See `ByteSource`."""
        return self._path.server.part(self._path.path, -length)


def _connection_failed(error: Exception) -> bool:
    """Whether the connection failed, and not the request: then it is worth repeating."""
    lost = (ConnectionError, TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    return isinstance(error, lost)


def _described(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the server answers {error.status} {error.message}"
    if _connection_failed(error):
        return f"the connection failed {len(RETRY_DELAYS) + 1} times ({error or type(error).__name__})"
    return f"{error or type(error).__name__}"
