"""The metadata documents of Zarr version 3, as this format uses them.

They are written here rather than by zarr-python so that the bytes of a cache depend on nothing but its manifest:
a cache that one version of a library began can be resumed under another.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CHECKED_BYTES: list[dict[str, Any]] = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "crc32c"},
]
"""Codecs of every chunk: little-endian values followed by their CRC32C."""


def array_document(
    shape: Sequence[int],
    chunk: Sequence[int],
    dtype: np.dtype[Any],
    codecs: list[dict[str, Any]],
    dimensions: Sequence[str],
    attributes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The `zarr.json` of an array whose chunk k is the file `c.k.0.0`, with fill value 0."""
    return {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": dtype.type(0).item(),
        "codecs": codecs,
        "attributes": dict(attributes or {}),
        "dimension_names": list(dimensions),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def sharded(chunk: Sequence[int]) -> list[dict[str, Any]]:
    """Codecs of a sharded array with inner chunks of shape `chunk`."""
    configuration = {
        "chunk_shape": list(chunk),
        "codecs": CHECKED_BYTES,
        "index_codecs": CHECKED_BYTES,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def group_of(members: Mapping[str, dict[str, Any]], attributes: dict[str, Any]) -> dict[str, Any]:
    """The `zarr.json` of a group with the metadata of its members, by their path inside the group.

    Such consolidated metadata lets readers open a group with one request and without listing folders, which no plain
    web server offers. The key is the one that zarr-python and xarray use; readers that do not know it ignore it.
    """
    document: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if members:
        in_order = sorted(members, key=lambda path: [*path.split("/"), "zarr.json"])
        metadata = {path: _without_members(members[path]) for path in in_order}
        document["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": metadata}
    return document


def as_bytes(document: dict[str, Any]) -> bytes:
    """A document as the content of a `zarr.json`."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _without_members(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "consolidated_metadata"}
