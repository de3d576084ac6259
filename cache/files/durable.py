"""Files that are either whole or not there, also after a crash or a loss of power."""

import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from cache.files.block_stream import BlockStream, open_for_blocks
from cache.files.regular_file import regular_file, regular_size

PARTIAL_SUFFIX = ".partial"

_READ_BYTES = 1 << 20

_WRITTEN_TOGETHER = 8


@dataclass(frozen=True)
class WrittenFile:
    """Size in bytes and BLAKE3 (256 bits, hexadecimal) of a file, as recorded in the ledger."""

    bytes: int
    blake3: str


class DurableFile(io.RawIOBase):
    """A binary file, written under a `.partial` name, fsynced and renamed to `path` when its `with` block ends.

    If the block raises, for example because the disk is full, the partial file is deleted and `path` stays as it
    was. The caller makes the new name durable with `sync` on the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._partial.unlink(missing_ok=True)  # a link or a pipe of that name would be written into
        self._descriptor = open_for_blocks(self._partial)
        self._stream = BlockStream(self._descriptor)
        self._blake3 = ""

    def writable(self) -> bool:
        """Always: the file is for writing only."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._stream.size

    def write(self, block: Any) -> int:
        """Append all of `block`, bytes or a contiguous array."""
        before = self._stream.size
        self._stream.append(block)
        return self._stream.size - before

    @property
    def written(self) -> WrittenFile:
        """What was written; known once the `with` block has ended."""
        return WrittenFile(self._stream.size, self._blake3)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._blake3 = self._stream.finish()
                os.fsync(self._descriptor)
                self._partial.replace(self._path)
        finally:
            self._stream.close()
            os.close(self._descriptor)
            self._partial.unlink(missing_ok=True)
            self.close()


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step that survives a loss of power."""
    _write_file(path, content)
    sync(path.parent)


def write_all_durably(contents: Mapping[Path, bytes]) -> None:
    """Replace every one of these paths by its content, each in one step; their folders are created.

    They are written together: a journalling file system then commits them together, many times faster than one after
    another.
    """
    folders = {path.parent for path in contents}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_WRITTEN_TOGETHER, thread_name_prefix="durable") as pool:
        for _ in pool.map(_write_file, *zip(*contents.items(), strict=True)):
            pass
        for _ in pool.map(sync, folders):
            pass


def _write_file(path: Path, content: bytes) -> None:
    with DurableFile(path) as file:
        file.write(content)


def content_written(content: bytes) -> WrittenFile:
    """Size and hash of a file with this content."""
    return WrittenFile(len(content), blake3(content).hexdigest())


def file_written(path: Path) -> WrittenFile:
    """Size and hash of the file at `path` as it is now. Raises OSError if it cannot be read, or is no regular file."""
    with regular_file(path) as file:
        digest = blake3()
        while block := file.read(_READ_BYTES):
            digest.update(block)
        return WrittenFile(os.fstat(file.fileno()).st_size, digest.hexdigest())


def is_as_written(path: Path, expected: WrittenFile) -> bool:
    """Whether a file has the recorded size and hash; of one of another size, nothing is read. Raises OSError."""
    return regular_size(path) == expected.bytes and file_written(path) == expected


def sync(path: Path) -> None:
    """Make a file's content, or the names of the files in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
