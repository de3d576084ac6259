"""Reading files of a web server that nobody vouches for: every answer is bounded in size and in time."""

import asyncio
import re
import time
from http import HTTPStatus
from typing import Any

import aiohttp
from fsspec.asyn import sync

from cache.shown import shown_value

SILENCE = 30.0
"""Seconds within which an answer has to begin, and may afterwards be late."""

SLOWEST = 16 << 10
"""Bytes a second that an answer has to keep up; below that, and `SILENCE` late, it is given up."""

_CONNECTING = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)


HTTP_OPTIONS = {"client_kwargs": {"timeout": _CONNECTING, "auto_decompress": False}}
"""What fsspec's file system has to be made with: what a server compresses would be unpacked without a limit."""


class UnfitAnswerError(Exception):
    """A server's answer that is not what was asked for; asking again would not help."""


class HttpFiles:
    """The files of a web server, read in ranges of bytes, as they are stored."""

    def __init__(self, files: Any) -> None:
        """Read over the connections of `files`, fsspec's file system for HTTP."""
        self._files = files

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if the server does not tell."""
        _, size = self._ask(path, 0, 1, whole=False, content=False)
        return size

    def whole(self, path: str, limit: int) -> bytes:
        """The content of a file. Raises UnfitAnswerError if it has more than `limit` bytes."""
        content, size = self._ask(path, 0, limit + 1, whole=True)
        if max(len(content), size or 0) > limit:
            raise UnfitAnswerError(f"the file has more than {limit} bytes")
        return content

    def part(self, path: str, first: int | None, count: int) -> bytes:
        """`count` bytes of a file from `first` on, or the last ones if that is None, as far as the file has them."""
        content, _ = self._ask(path, first, count, whole=False)
        return content

    def _ask(
        self, path: str, first: int | None, count: int, *, whole: bool, content: bool = True
    ) -> tuple[bytes, int | None]:
        """Some bytes of a file, and how many the file has if the server tells.

        Args:
            path: the URL.
            first, count: see `part`.
            whole: whether the whole file is an answer, too.
            content: False to learn the size alone.

        Raises:
            FileNotFoundError: there is no such file.
            UnfitAnswerError: the answer is not what was asked for, or comes too slowly.
            aiohttp.ClientError, TimeoutError: the server cannot be reached, or fails.
        """
        answer: tuple[bytes, int | None] = sync(
            self._files.loop, self._answer, path, first, count, whole, content
        )
        return answer

    async def _answer(
        self, path: str, first: int | None, count: int, whole: bool, content: bool
    ) -> tuple[bytes, int | None]:
        session = await self._files.set_session()
        options = dict(self._files.kwargs)
        asked = f"bytes=-{count}" if first is None else f"bytes={first}-{first + count - 1}"
        options["headers"] = {**options.get("headers", {}), "Range": asked, "Accept-Encoding": "identity"}
        response = await asyncio.wait_for(session.get(self._files.encode_url(path), **options), SILENCE)
        async with response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file ends before `first`
                return b"", _number(response.headers.get("Content-Range", ""), r"bytes \*/(\d+)")
            if response.status == HTTPStatus.NOT_FOUND:
                raise FileNotFoundError(path)
            response.raise_for_status()
            size = _checked(response, first, count, whole=whole or not content)
            return (await _body(response, count) if content else b""), size


def _checked(response: aiohttp.ClientResponse, first: int | None, count: int, *, whole: bool) -> int | None:
    """Refuse an answer that its header says is not the bytes asked for; how many the file has if the header tells."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        raise UnfitAnswerError(
            f"the server sends the file in another encoding ({shown_value(encoding)}), and none was asked for; have "
            "the folder served as it is"
        )
    length = _number(response.headers.get("Content-Length", ""), r"(\d+)")
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        return _checked_range(response.headers.get("Content-Range", ""), first, count, length)
    if not whole and (first != 0 or length is None or length > count):
        raise UnfitAnswerError(
            "the server ignores byte ranges and would send whole files for each image; serve the folder with one that "
            "supports them (nginx, Caddy, S3), or copy it to disk"
        )
    return length


def _checked_range(stated: str, first: int | None, count: int, length: int | None) -> int | None:
    """Refuse other bytes than those asked for; how many the file has if `stated`, the Content-Range, tells."""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", stated)
    if found is not None:
        start, stop = int(found[1]), int(found[2]) + 1
        size = None if found[3] == "*" else int(found[3])
        begins = stop == size if first is None else start == first
        if begins and 0 < stop - start <= count and (length is None or length <= stop - start):
            return size
    asked = f"the last {count}" if first is None else f"{first} to {first + count - 1}"
    raise UnfitAnswerError(f"asked for bytes {asked}, the server says it sends {shown_value(stated)}")


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """What follows the header: at most `limit` bytes, and never slower than `SLOWEST` for long."""
    content = bytearray()
    began = time.monotonic()
    while True:
        late = began + SILENCE + len(content) / SLOWEST - time.monotonic()
        try:
            block = await asyncio.wait_for(response.content.readany(), max(0.0, late))
        except TimeoutError:
            if not content:
                raise
            raise UnfitAnswerError(
                f"the server sends fewer than {SLOWEST} bytes a second: {len(content)} "
                f"in {time.monotonic() - began:.0f} s"
            ) from None
        if not block:
            return bytes(content)
        content += block
        if len(content) > limit:
            raise UnfitAnswerError(f"the server sends more than the {limit} bytes asked for")


def _number(text: str, pattern: str) -> int | None:
    found = re.fullmatch(pattern, text)
    return int(found[1]) if found and len(found[1]) < 19 else None
