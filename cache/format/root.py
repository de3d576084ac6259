"""The group document of a cache: format, manifest, and whether it is complete."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.errors import (
    CacheAccessError,
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheMissingError,
    CacheReplacedError,
    CacheVersionError,
    unreadable,
)
from cache.files.durable import WrittenFile, write_durably
from cache.files.location import Location, read_document
from cache.format.hierarchy import DOCUMENT, Hierarchy
from cache.format.manifest import FORMAT, VERSION, Manifest, canonical_sha256, other_version
from cache.shown import shown_text, shown_value

TOTALS = ("images", "captions", "tokens", "pairs", "skipped")
"""Counts of a shard, in its ledger record, and of the whole cache, in the group document."""


@dataclass(frozen=True)
class Completion:
    """What the group document of a complete cache says beyond its manifest.

    Attributes:
        totals: the sums of `TOTALS` over all shards.
        files: size and hash of samples.parquet, of ledger.parquet, and of the positions of the captions.
        shards: `content_sha256` of the record of each shard, so that one proves right without the others.
    """

    totals: Mapping[str, int]
    files: Mapping[str, WrittenFile]
    shards: tuple[str, ...]


def write_root(
    path: Path,
    manifest: Manifest,
    completion: Completion | None = None,
    hierarchy: Hierarchy | None = None,
) -> None:
    """Write the group document of the cache at `path` atomically.

    Args:
        path: folder of the cache.
        manifest: of the cache.
        completion: None says that shards are missing.
        hierarchy: the arrays and groups in the cache, whose metadata is put into that of the group.
    """
    attributes = root_attributes(manifest, completion)
    write_durably(path / DOCUMENT, (hierarchy or Hierarchy()).root(attributes))


def root_attributes(manifest: Manifest, completion: Completion | None) -> dict[str, Any]:
    """The attributes of a cache's group document; None says that shards are missing."""
    attributes: dict[str, Any] = {"format": FORMAT, "version": VERSION, "complete": completion is not None}
    if completion is not None:
        attributes["totals"] = dict(completion.totals)
        attributes["files"] = {name: asdict(file) for name, file in completion.files.items()}
        attributes["shards"] = list(completion.shards)
    attributes["manifest"] = manifest.to_json()
    attributes["manifest_sha256"] = manifest.sha256
    return {**attributes, "attributes_sha256": canonical_sha256(attributes)}


def read_root(path: Location) -> tuple[Manifest, Completion | None]:
    """The manifest of the cache at `path` and, if it is complete, its completion.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: something else is there, or an edited manifest.
        CacheVersionError: it has another version of the format.
        CacheAccessError: what is there cannot be read.
    """
    where = path / DOCUMENT
    attributes = check_format(path)
    if attributes.get("version") != VERSION:
        raise CacheVersionError(f"{where}: {other_version(attributes.get('version'))}")
    manifest = Manifest.from_json(attributes.get("manifest"), str(where))
    if attributes.get("manifest_sha256") != manifest.sha256:
        raise CacheFormatError(
            f"{where}: the manifest was edited: its SHA-256 is {manifest.sha256}, "
            f"recorded is {shown_value(attributes.get('manifest_sha256'))}; restore the file or encode again"
        )
    others = {key: value for key, value in attributes.items() if key != "attributes_sha256"}
    if attributes.get("attributes_sha256") != canonical_sha256(others):
        raise CacheFormatError(
            f"{where}: the attributes were edited: their SHA-256 is {canonical_sha256(others)}, "
            f"recorded is {shown_value(attributes.get('attributes_sha256'))}; restore the file or repair the cache"
        )
    if attributes.get("complete") is not True:
        return manifest, None
    try:
        totals = {name: int(attributes["totals"][name]) for name in TOTALS}
        files = {name: _written_file(file) for name, file in attributes["files"].items()}
        shards = tuple(map(str, attributes["shards"]))
        if len(shards) != manifest.shards:
            raise ValueError(f"{len(shards)} of {manifest.shards} shards")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheFormatError(
            f"{where}: totals, files or shards were edited ({shown_text(error)}); restore it"
        ) from None
    return manifest, Completion(totals, files, shards)


def _written_file(values: Mapping[str, Any]) -> WrittenFile:
    """Size and hash as the attributes state them. Raises ValueError, KeyError or TypeError if they do not."""
    size, digest = values["bytes"], values["blake3"]
    if type(size) is not int or not 0 <= size < 1 << 63 or not isinstance(digest, str):
        raise ValueError("a size or a hash is none")
    return WrittenFile(size, digest)


def check_format(path: Location) -> dict[str, Any]:
    """The attributes of the cache at `path`, which may be of any version and damaged.

    Raises:
        CacheMissingError, CacheFormatError, CacheAccessError: as `read_root`.
    """
    attributes = _attributes(path)
    if attributes["format"] != FORMAT:
        raise CacheFormatError(
            f"{path / DOCUMENT}: a Zarr group of format {shown_value(attributes['format'])}, not {FORMAT!r}"
        )
    return attributes


def mark_incomplete(path: Path) -> None:
    """Replace the group document of the cache at `path`, of whatever version, by one that no reader opens."""
    kept = ("format", "version", "manifest", "manifest_sha256")
    attributes = {key: value for key, value in check_format(path).items() if key in kept}
    attributes["complete"] = False
    attributes["attributes_sha256"] = canonical_sha256(attributes)
    write_durably(path / DOCUMENT, Hierarchy().root(attributes))


def refuse_replaced(path: Location, manifest: Manifest, completion: Completion) -> None:
    """Tell why a file of a cache is not what it was when the cache was opened, if there is a reason for it.

    Raises:
        CacheReplacedError: the cache at `path` is no longer the one of `manifest` and `completion`.
    """
    try:
        found = read_root(path)
    except CacheAccessError:
        return
    except CacheError:
        found = None
    if found != (manifest, completion):
        raise CacheReplacedError(
            f"{path}: was replaced, or is being written, since it was opened here, and what was read of both would "
            "be mixed; wait until its writer is done, then start again"
        )


def read_manifest(path: Location) -> Manifest | None:
    """The manifest in a group document that `read_root` refuses; None if not even the manifest can be relied on."""
    try:
        attributes = _attributes(path)
        manifest = Manifest.from_json(attributes.get("manifest"), str(path))
    except (CacheFormatError, CacheCorruptError):
        return None
    return manifest if attributes.get("manifest_sha256") == manifest.sha256 else None


def _attributes(path: Location) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = read_document(path / DOCUMENT)["attributes"]
        attributes["format"]
    except NotADirectoryError:
        raise CacheFormatError(f"{path}: is a file; an activation cache is a folder") from None
    except FileNotFoundError:
        if isinstance(path, Path) and path.exists():
            raise CacheFormatError(f"{path}: not an activation cache (there is no zarr.json)") from None
        raise CacheMissingError(f"{path}: there is no cache; encode it first") from None
    except OSError as error:
        raise unreadable(path / DOCUMENT, error) from None
    except (ValueError, KeyError, TypeError):
        raise CacheFormatError(f"{path}: not an activation cache (its zarr.json names no format)") from None
    return attributes
