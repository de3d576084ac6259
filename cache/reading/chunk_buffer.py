"""Memory into which inner chunks of a shard are read and where they are compared with their checksums."""

import google_crc32c
import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from cache.files.source import ByteSource
from cache.format.layout import CHECKSUM_BYTES

COPIED_VALUES = 32_000
"""Values copied at a time. From 32,768 on, torch would share the work among its own threads; waiting for those made the
readers, which are threads already, many times slower. Setting torch's number of threads would change it for all."""


class DamageError(Exception):
    """What is wrong with a shard file, and in which chunk unless it is in all of them."""

    def __init__(self, problem: str, chunk: int | None = None) -> None:
        self.problem = problem
        self.chunk = chunk


class ChunkBuffer:
    """Some chunks in memory, with their checksums beside them."""

    def __init__(self, content: UInt8[np.ndarray, "chunk byte"]) -> None:
        """Use the contiguous rows of `content` for chunks."""
        checksums = np.empty((len(content), CHECKSUM_BYTES), np.uint8)
        self._chunks = list(content)
        self._checksums = checksums.view("<u4")[:, 0]
        self._buffers = [part.data for pair in zip(content, checksums, strict=True) for part in pair]
        self._stored_bytes = content.shape[1] + CHECKSUM_BYTES

    def fill(self, file: ByteSource, offset: int, first: int, count: int, chunk: int) -> None:
        """Read chunks that lie one after another in the file, and compare each with its CRC32C.

        Args:
            file: the shard file.
            offset: where the first of the chunks begins.
            first: place of the first of the chunks in this buffer.
            count: how many chunks.
            chunk: number of the first of the chunks in the shard, for messages.

        Raises:
            DamageError: the file ends too early, or a chunk fails its checksum.
            OSError, CacheRemoteError: the file cannot be read.
        """
        read = file.read_into(self._buffers[2 * first : 2 * (first + count)], offset)
        if read != count * self._stored_bytes:
            end = chunk + read // self._stored_bytes
            raise DamageError(f"truncated in chunk {end}", end)
        places = range(first, first + count)
        for place, checksum in zip(places, self._checksums[first : first + count].tolist(), strict=True):
            if google_crc32c.value(self._chunks[place]) != checksum:
                damaged = chunk + place - first
                raise DamageError(f"chunk {damaged} fails its CRC32C", damaged)


def copy_values(source: Tensor, target: Tensor) -> None:
    """Copy contiguous values to a contiguous tensor of the same shape and possibly another dtype, in this thread."""
    if target.numel() <= COPIED_VALUES:
        target.copy_(source)
        return
    source, target = source.view(-1), target.view(-1)
    for start in range(0, len(source), COPIED_VALUES):
        part = slice(start, start + COPIED_VALUES)
        target[part].copy_(source[part])
