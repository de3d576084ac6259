"""Bytes on their way to a file: hashed by one thread and written by another, in large blocks."""

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from blake3 import blake3
from jaxtyping import UInt8

BLOCK_BYTES = 4 << 20
"""A multiple of every page size, as writing past the page cache demands of blocks and their places in the file."""

_BLOCKS = 3
"""One being filled, two being hashed and written: 12 MB for a file larger than that."""

_spare: list["_Block"] = []
"""Blocks of files that are done: getting new memory would take as long as hashing what is put there."""

_PAST_PAGE_CACHE: int = getattr(os, "O_DIRECT", 0)


def open_for_blocks(path: os.PathLike[str]) -> int:
    """Create or empty a file; where the file system allows it, what is written goes past the page cache.

    Copying into the page cache would take half of the time that hashing takes, and would push out what is read.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | _PAST_PAGE_CACHE, 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags, 0o666)


@dataclass(eq=False)
class _Block:
    """Memory at a page's boundary, and the work on it that must end before it is filled again."""

    memory: UInt8[np.ndarray, "byte"] = field(default_factory=lambda: _pages(BLOCK_BYTES))
    work: list[Future[None]] = field(default_factory=list)

    def wait(self) -> None:
        for future in self.work:
            future.result()
        self.work.clear()


class BlockStream:
    """Appends to a file and computes the BLAKE3 of all of it; `finish` after the last byte.

    Attributes:
        size: bytes appended so far.
    """

    def __init__(self, descriptor: int) -> None:
        """Append to a file that is open for writing and empty; `open_for_blocks` makes one."""
        self.size = 0
        self._descriptor = descriptor
        self._digest = blake3()
        self._blocks: list[_Block] = []
        self._filled = 0
        self._threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None

    def append(self, content: Any) -> None:
        """Append bytes or a contiguous array; the caller may change it afterwards.

        Raises:
            OSError: this block or one before could not be written.
        """
        rest = np.frombuffer(memoryview(content).cast("B"), np.uint8)
        while len(rest):
            block = self._current()
            taken = min(len(rest), BLOCK_BYTES - self._filled)
            block.memory[self._filled : self._filled + taken] = rest[:taken]
            rest = rest[taken:]
            self._filled += taken
            self.size += taken
            if self._filled == BLOCK_BYTES:
                self._hand_over(block)

    def finish(self) -> str:
        """Write what is left and wait for all of it; the BLAKE3 in hexadecimal.

        Raises:
            OSError: a block could not be written.
        """
        for block in self._blocks:
            block.wait()
        if self._filled:
            rest = self._blocks[0].memory[: self._filled]
            self._hash(rest)
            _through_page_cache(self._descriptor)
            self._write(rest)
        return self._digest.hexdigest()

    def close(self) -> None:
        """End the threads, after what they are doing; the descriptor stays open."""
        for thread in self._threads or ():
            thread.shutdown(cancel_futures=True)
        for block in self._blocks:
            block.work.clear()  # it may have failed, which is nothing to the next file
            if len(_spare) < _BLOCKS:
                _spare.append(block)
        self._blocks.clear()

    def _current(self) -> _Block:
        """The block to fill, the first of all; new as long as there are few."""
        if not self._filled:
            if len(self._blocks) < _BLOCKS:
                self._blocks.insert(0, _spare_block())
            self._blocks[0].wait()
        return self._blocks[0]

    def _hand_over(self, block: _Block) -> None:
        if self._threads is None:
            self._threads = (ThreadPoolExecutor(1, "hash"), ThreadPoolExecutor(1, "write"))
        hashing, writing = self._threads
        block.work = [
            hashing.submit(self._hash, block.memory),
            writing.submit(self._write, block.memory),
        ]
        self._blocks.append(self._blocks.pop(0))
        self._filled = 0

    def _hash(self, content: UInt8[np.ndarray, "byte"]) -> None:
        self._digest.update(content.data)

    def _write(self, content: UInt8[np.ndarray, "byte"]) -> None:
        view = content.data
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not _through_page_cache(self._descriptor):
                    raise


def _spare_block() -> _Block:
    try:
        return _spare.pop()
    except IndexError:  # asking first would let another thread take the last one in between
        return _Block()


def _pages(count: int) -> UInt8[np.ndarray, "byte"]:
    """Memory that begins at a page's boundary, of large pages where there are any: they take less time to get."""
    memory = mmap.mmap(-1, count)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def _through_page_cache(descriptor: int) -> bool:
    """Let any number of bytes be written from anywhere; whether that was not so before."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~_PAST_PAGE_CACHE)
    return bool(flags & _PAST_PAGE_CACHE)
