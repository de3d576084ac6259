"""The group document of a cache: format, manifest, and whether it is complete."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.durable import WrittenFile, write_durably
from cache.errors import CacheFormatError, CacheMissingError
from cache.manifest import FORMAT, VERSION, Manifest
from cache.metadata import as_bytes, group_document

TOTALS = ("images", "captions", "tokens", "pairs", "skipped")
"""Counts of a shard, in its ledger record, and of the whole cache, in the group document."""


@dataclass(frozen=True)
class Completion:
    """What the group document of a complete cache says beyond its manifest.

    Attributes:
        totals: the sums of `TOTALS` over all shards.
        files: size and hash of samples.parquet and ledger.parquet.
    """

    totals: Mapping[str, int]
    files: Mapping[str, WrittenFile]


def write_root(path: Path, manifest: Manifest, completion: Completion | None) -> None:
    """Write the group document of the cache at `path` atomically; None says that shards are missing."""
    attributes: dict[str, Any] = {"format": FORMAT, "version": VERSION, "complete": completion is not None}
    if completion is not None:
        attributes["totals"] = dict(completion.totals)
        attributes["files"] = {name: asdict(file) for name, file in completion.files.items()}
    attributes["manifest"] = manifest.to_json()
    attributes["manifest_sha256"] = manifest.sha256
    write_durably(path / "zarr.json", as_bytes(group_document(path, attributes)))


def read_root(path: Path) -> tuple[Manifest, Completion | None]:
    """The manifest of the cache at `path` and, if it is complete, its completion.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: something else is there, another format version, or an edited manifest.
    """
    if not path.exists():
        raise CacheMissingError(f"{path}: there is no cache; encode it first")
    where = path / "zarr.json"
    attributes = _attributes(path)
    if attributes["format"] != FORMAT:
        raise CacheFormatError(f"{where}: a Zarr group of format {attributes['format']!r}, not {FORMAT!r}")
    if attributes.get("version") != VERSION:
        raise CacheFormatError(
            f"{where}: format version {attributes.get('version')!r}, and this software reads version {VERSION}; "
            "use the release that wrote it"
        )
    manifest = Manifest.from_json(attributes.get("manifest"), str(where))
    if attributes.get("manifest_sha256") != manifest.sha256:
        raise CacheFormatError(
            f"{where}: the manifest was edited: its SHA-256 is {manifest.sha256}, "
            f"recorded is {attributes.get('manifest_sha256')}; restore the file or encode again"
        )
    if attributes.get("complete") is not True:
        return manifest, None
    try:
        totals = {name: int(attributes["totals"][name]) for name in TOTALS}
        files = {name: WrittenFile(**file) for name, file in attributes["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheFormatError(f"{where}: totals or files were edited ({error}); restore the file") from None
    return manifest, Completion(totals, files)


def _attributes(path: Path) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())["attributes"]
        attributes["format"]
    except OSError as error:
        raise CacheFormatError(f"{path}: not an activation cache (zarr.json: {error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise CacheFormatError(f"{path}: not an activation cache (its zarr.json names no format)") from None
    return attributes
