"""The Zarr hierarchy of a cache: groups, array metadata and small arrays, as zarr-python makes and reads them.

It is made in memory, because files of a cache are written durably and whole, and are read only once their size is known
to be right. The form of a document may change with the version of the library; what it says is what counts here.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer.cpu import Buffer
from zarr.codecs import Crc32cCodec
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from cache.format.codecs import CODECS
from cache.format.storage_options import StorageCodec
from cache.shown import shown_text

DOCUMENT = "zarr.json"
"""The name of every file of metadata."""

_CHUNK_KEYS: Any = {"name": "default", "separator": "."}
"""Chunk k of an array with three dimensions is the file `c.k.0.0`: no folders."""


class Hierarchy:
    """Groups and arrays in memory, by their path inside the cache."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        """Begin with the content of `files` by their path; by default, with none."""
        self._buffers: dict[str, Any] = {
            name: Buffer.from_bytes(content) for name, content in (files or {}).items()
        }
        self._store = MemoryStore(self._buffers)

    @property
    def members(self) -> dict[str, bytes]:
        """The content of every file by its path, but not that of the cache's own document."""
        return {name: buffer.to_bytes() for name, buffer in self._buffers.items() if name != DOCUMENT}

    def root(self, attributes: Mapping[str, Any]) -> bytes:
        """The cache's own document, with these attributes and the metadata of all members."""
        self.set_attributes("", attributes)
        if self.members:
            self.consolidate("")
        content: bytes = self._buffers[DOCUMENT].to_bytes()
        return content

    def set_attributes(self, group: str, attributes: Mapping[str, Any]) -> None:
        """Give a group attributes; like those above an array, it is made if it is not there."""
        zarr.open_group(self._store, path=group, mode="a").attrs.put(dict(attributes))

    def add_array(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        dimensions: tuple[str, ...],
        *,
        chunk: tuple[int, ...],
        shard: tuple[int, ...] | None = None,
        codec: StorageCodec = "none",
        attributes: Mapping[str, str] | None = None,
    ) -> "zarr.Array[Any]":
        """Add the metadata of an array, each chunk followed by its CRC32C; values are little-endian.

        Args:
            name: path inside the cache.
            shape: of the array.
            dtype: of its values.
            dimensions: their names.
            chunk: shape of a chunk, or of an inner chunk if there are shards.
            shard: shape of a shard; None for an array without.
            codec: what makes a chunk smaller.
            attributes: of the array.
        """
        with _no_warnings():
            return zarr.create_array(
                self._store,
                name=name,
                shape=shape,
                chunks=chunk,
                shards=shard,
                dtype=dtype,
                serializer=CODECS[codec].serializer(),
                compressors=[*CODECS[codec].compressors, Crc32cCodec()],
                fill_value=0,
                chunk_key_encoding=_CHUNK_KEYS,
                dimension_names=dimensions,
                attributes=dict(attributes or {}),
                config={"write_empty_chunks": True},
            )

    def add_values(self, name: str, values: NDArray[Any], *dimensions: str) -> None:
        """Add an array of one chunk, of at least one value."""
        self.add_array(name, values.shape, values.dtype, dimensions, chunk=values.shape)[...] = values

    def consolidate(self, group: str) -> None:
        """Put the metadata of all members of a group into that of the group.

        Readers then open it with one request and without listing folders, which no plain web server offers.
        """
        with _no_warnings():
            zarr.consolidate_metadata(self._store, path=group)

    def metadata(self, name: str = "") -> dict[str, Any]:
        """What the document of an array or a group says, in the form that this version of zarr-python gives it.

        Raises:
            ValueError: zarr-python refuses it.
        """
        try:
            with _no_warnings():
                document = zarr.open(self._store, path=name, mode="r").metadata.to_dict()
            return dict(json.loads(json.dumps(document)))
        except Exception as error:  # whatever it raises of what somebody else wrote
            raise ValueError(shown_text(error) or type(error).__name__) from None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Have zarr-python not tell that the core of version 3 lacks consolidated metadata, and some codecs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        yield


def chunk_values(chunk: bytes, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values of an array that `Hierarchy.add_values` made, row by row, from the content of its only chunk.

    Raises:
        ValueError: it fails its CRC32C, or has another length.
    """
    array = Hierarchy({"c.0": chunk}).add_array("", (length,), dtype, ("value",), chunk=(length,))
    return np.asarray(array[:])


def same_metadata(found: bytes, expected: bytes) -> bool:
    """Whether two documents say the same, whichever library wrote them."""
    try:
        return found == expected or _metadata(found) == _metadata(expected)
    except ValueError:
        return False


def _metadata(document: bytes) -> dict[str, Any]:
    return Hierarchy({DOCUMENT: document}).metadata()
