"""Memory into which inner chunks of a shard are read and where they are compared with their checksums."""

import bisect
from itertools import pairwise

import google_crc32c
import numpy as np
from jaxtyping import Int64, UInt8, UInt32
from torch import Tensor

from cache.files.source import ByteSource
from cache.format.codecs import CODECS
from cache.format.layout import CHECKSUM_BYTES, ShardedLayout

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
        """Read chunks that follow each other in a file as they are, to the front of this buffer, and check each.

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
            _check(chunk, content, checksum, right)


class EncodedChunks:
    """Memory for chunks as a codec made them, until they are decoded."""

    def __init__(self, layout: ShardedLayout, chunks: int) -> None:
        """Have room for so many `chunks` of the array described by `layout`."""
        self._codec, self._dtype = CODECS[layout.codec], layout.dtype
        self._memory = np.empty(chunks * layout.largest_chunk, np.uint8)

    def decode(
        self,
        file: ByteSource,
        first: int,
        offsets: Int64[np.ndarray, "chunk_and_one"],
        expected: UInt32[np.ndarray, "chunk"],
        content: UInt8[np.ndarray, "_ byte"],
    ) -> None:
        """Read chunks that follow each other in a file, check each, and decode them to the front of `content`.

        Args:
            file, first, expected: as of `ChunkBuffer.fill`.
            offsets: where each of the chunks begins in the file, and where the last one ends.
            content: contiguous rows, one for each chunk.

        Raises:
            DamageError: as `ChunkBuffer.fill`; or a chunk is not what the codec makes of values.
            OSError, CacheRemoteError: the file cannot be read.
        """
        places = (offsets - offsets[0]).tolist()
        read = file.read_into([self._memory[: places[-1]].data], int(offsets[0]))
        if read != places[-1]:
            end = first + bisect.bisect_right(places, read) - 1
            raise DamageError(f"truncated in chunk {end}", end)
        for place, ((start, end), right) in enumerate(zip(pairwise(places), expected.tolist(), strict=True)):
            encoded, checksum = np.split(self._memory[start:end], [-CHECKSUM_BYTES])
            _check(first + place, encoded, int.from_bytes(checksum, "little"), right)
            try:
                self._codec.decode(encoded, content[place], self._dtype)
            except (ValueError, RuntimeError):
                raise DamageError(f"chunk {first + place} cannot be decoded", first + place) from None


def _check(chunk: int, content: UInt8[np.ndarray, "byte"], checksum: int, right: int) -> None:
    """Compare a chunk with the checksum after it, and that with the ledger's.

    What the ledger says of a chunk says also that it is the one for its place, of this shard, array and cache.
    """
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
