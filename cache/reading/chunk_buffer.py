"""Memory into which inner chunks of a shard are read and where they are compared with their checksums."""

import google_crc32c
import numpy as np
from jaxtyping import UInt8, UInt32
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

    def fill(self, file: ByteSource, first: int, expected: UInt32[np.ndarray, "chunk"]) -> None:
        """Read chunks that follow each other in a file, to the front of this buffer, and check each.

        What the ledger says of a chunk says also that it is the one for its place, of this shard, array and cache.

        Args:
            file: the shard file.
            first: number of the first of the chunks in the shard.
            expected: CRC32C of each of the chunks, from the ledger.

        Raises:
            DamageError: the file ends too early, a chunk fails its checksum, or is not the one that was written there.
            OSError, CacheRemoteError: the file cannot be read.
        """
        count = len(expected)
        read = file.read_into(self._buffers[: 2 * count], first * self._stored_bytes)
        if read != count * self._stored_bytes:
            end = first + read // self._stored_bytes
            raise DamageError(f"truncated in chunk {end}", end)
        stored = self._checksums[:count].tolist()
        for chunk, (content, checksum, right) in enumerate(
            zip(self._chunks, stored, expected.tolist(), strict=False), start=first
        ):
            if google_crc32c.value(content) != checksum:
                raise DamageError(f"chunk {chunk} fails its CRC32C", chunk)
            if checksum != right:
                raise DamageError(f"chunk {chunk} is whole, but not the one that was written there", chunk)


def copy_values(source: Tensor, target: Tensor) -> None:
    """Copy contiguous values to a contiguous tensor of the same shape and possibly another dtype, in this thread."""
    if target.numel() <= COPIED_VALUES:
        target.copy_(source)
        return
    source, target = source.view(-1), target.view(-1)
    for start in range(0, len(source), COPIED_VALUES):
        part = slice(start, start + COPIED_VALUES)
        target[part].copy_(source[part])
