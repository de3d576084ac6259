"""Small one-dimensional arrays: one chunk, one CRC32C, read and written whole."""

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.durable import DurableFile, sync
from cache.errors import CacheCorruptError
from cache.layout import CHECKSUM_BYTES
from cache.metadata import CHECKED_BYTES, array_document, as_bytes


def write_small_array(path: Path, name: str, values: NDArray[Any], dimension: str) -> None:
    """Write the array `name` of the cache at `path`, at least one value; the caller syncs the folder it is in."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    folder = path / name
    folder.mkdir(parents=True, exist_ok=True)
    document = array_document(values.shape, values.shape, values.dtype, CHECKED_BYTES, [dimension])
    content = values.tobytes()
    with DurableFile(folder / "zarr.json") as file:
        file.write(as_bytes(document))
    with DurableFile(folder / "c.0") as file:
        file.write(content)
        file.write(google_crc32c.value(content).to_bytes(CHECKSUM_BYTES, "little"))
    sync(folder)


def read_small_array(path: Path, name: str, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The `length` values of the array `name`.

    Raises:
        CacheCorruptError: the array is missing, has another length, or fails its checksum.
    """
    file = path / name / "c.0"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CacheCorruptError(f"{file}: {error.strerror}; restore it or encode again") from None
    values, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if len(values) != length * dtype.itemsize or google_crc32c.value(values) != int.from_bytes(
        checksum, "little"
    ):
        raise CacheCorruptError(f"{file}: truncated or fails its CRC32C; restore it or encode again")
    return np.frombuffer(values, dtype)
