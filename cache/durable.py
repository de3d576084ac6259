"""Files that are either whole or not there, also after a crash or a loss of power."""

import hashlib
import io
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTIAL_SUFFIX = ".partial"

_HASHED_BESIDE_BYTES = 1 << 16
"""Blocks from this size on are hashed in a thread while they are written, which costs as much time."""

_FLUSHED_BYTES = 32 << 20
"""After every so many bytes a thread begins to flush, so that at the end of a large file little is left to wait for."""


@dataclass(frozen=True)
class WrittenFile:
    """Size in bytes and SHA-256 (hexadecimal) of a file, as recorded in the ledger."""

    bytes: int
    sha256: str


class DurableFile(io.RawIOBase):
    """A binary file, written under a `.partial` name, fsynced and renamed to `path` when its `with` block ends.

    If the block raises, for example because the disk is full, the partial file is deleted and `path` stays as it
    was. The caller makes the new name durable with `sync` on the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._digest = hashlib.sha256()
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="durable")
        self._flush: Future[None] | None = None
        self._flushed = 0
        self._size = 0

    def writable(self) -> bool:
        """Always: the file is for writing only."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, block: Any) -> int:
        """Append all of `block`, bytes or a contiguous array."""
        view = memoryview(block).cast("B")
        if len(view) < _HASHED_BESIDE_BYTES:
            self._digest.update(view)
            self._append(view)
        else:
            hashed = self._beside.submit(self._digest.update, view)
            try:
                self._append(view)
            finally:
                hashed.result()  # the caller may change or free the block once this function returns
        self._size += len(view)
        self._flush_ahead()
        return len(view)

    def _append(self, view: memoryview) -> None:
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _flush_ahead(self) -> None:
        if self._size - self._flushed >= _FLUSHED_BYTES and (self._flush is None or self._flush.done()):
            self._finish_flush()
            self._flushed = self._size
            self._flush = self._beside.submit(os.fsync, self._descriptor)

    def _finish_flush(self) -> None:
        """Raise what the thread ran into: the system reports a failed write to one fsync only."""
        if self._flush is not None:
            self._flush.result()

    @property
    def written(self) -> WrittenFile:
        """What was written."""
        return WrittenFile(self._size, self._digest.hexdigest())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish_flush()
                os.fsync(self._descriptor)
                self._partial.replace(self._path)
        finally:
            self._beside.shutdown()
            os.close(self._descriptor)
            self._partial.unlink(missing_ok=True)
            self.close()


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step that survives a loss of power."""
    with DurableFile(path) as file:
        file.write(content)
    sync(path.parent)


def file_written(path: Path) -> WrittenFile:
    """Size and hash of the file at `path` as it is now."""
    with path.open("rb") as file:
        return WrittenFile(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def sync(path: Path) -> None:
    """Make a file's content, or the names of the files in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
