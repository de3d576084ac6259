"""Consolidated metadata: a group's document repeats those of everything in it.

Readers then open a group with one request and without listing folders, which no plain web server offers. The key
`consolidated_metadata` is the one that zarr-python and xarray use; readers that do not know it may ignore it.
"""

import json
from pathlib import Path
from typing import Any

from cache.durable import write_durably

_GROUP = {"zarr_format": 3, "node_type": "group"}


def group_document(path: Path, attributes: dict[str, Any]) -> bytes:
    """The `zarr.json` of the group at `path` with the metadata of its members, as far as they are on disk."""
    members = {
        file.parent.relative_to(path).as_posix(): _without_members(json.loads(file.read_bytes()))
        for file in sorted(path.glob("*/**/zarr.json"))
    }
    document: dict[str, Any] = {**_GROUP, "attributes": attributes}
    document["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()


def consolidate_groups(path: Path) -> None:
    """Rewrite the documents of all groups below the root at `path`, which have no attributes of their own."""
    for file in sorted(path.glob("*/**/zarr.json")):
        if json.loads(file.read_bytes())["node_type"] == "group":
            write_durably(file, group_document(file.parent, {}))


def _without_members(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "consolidated_metadata"}
