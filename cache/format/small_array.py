"""Small one-dimensional arrays: one chunk, one CRC32C, always whole."""

from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheCorruptError, unreadable
from cache.files.durable import WrittenFile, content_written
from cache.files.location import Location, read_whole
from cache.format.layout import CHECKSUM_BYTES
from cache.format.metadata import CHECKED_BYTES, array_document


def small_array_document(values: NDArray[Any], dimension: str) -> dict[str, Any]:
    """The `zarr.json` of an array of `values`, at least one."""
    return array_document(values.shape, values.shape, values.dtype, CHECKED_BYTES, [dimension])


def small_array_content(values: NDArray[Any]) -> bytes:
    """The only chunk of an array of `values`: little-endian, followed by their CRC32C."""
    content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(CHECKSUM_BYTES, "little")


def read_small_array(
    file: Location, expected: WrittenFile | None, length: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The `length` values of an array, from the file of its only chunk.

    Raises:
        CacheCorruptError: the file is missing, fails its checksum, has another length, or is not the `expected` one.
        CacheAccessError: the file cannot be read.
    """
    try:
        content = read_whole(file, length * dtype.itemsize + CHECKSUM_BYTES)
    except OSError as error:
        raise unreadable(file, error) from None
    values, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if len(values) != length * dtype.itemsize or google_crc32c.value(values) != int.from_bytes(
        checksum, "little"
    ):
        raise CacheCorruptError(f"{file}: truncated or fails its CRC32C; restore it or encode again")
    if content_written(content) != expected:
        raise CacheCorruptError(
            f"{file}: is whole, but not the file that was written; restore it or encode again"
        )
    return np.frombuffer(values, dtype)
