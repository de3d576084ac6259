"""Checking, when a cache is opened, that its manifest, its ledger and its files speak of the same cache.

Nothing is allocated before: whatever size the manifest claims, the files must have it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import CacheCorruptError, CacheFormatError, unreadable
from cache.files.location import Location, file_size
from cache.format.layout import CHECKSUM_BYTES, LEDGER_FILE, LEDGER_FOLDER, ShardedLayout, sharded_layouts
from cache.format.ledger import read_ledger
from cache.format.manifest import Manifest
from cache.format.root import TOTALS, Completion

Checksums = Mapping[str, bytes]
"""CRC32C of each chunk of a shard's file, in order, by the file's path inside the cache; see `ShardFile`."""

_Recorded = Mapping[str, Mapping[str, Any]]
"""What the ledger has of each file of a shard by its path inside the cache."""


def check_ledger(folder: Location, manifest: Manifest, completion: Completion) -> Checksums:
    """Check a complete cache's ledger against its manifest and totals, and the files it lists by their size.

    Behind a URL, where each file would be a request, the files of the first shard stand for all: whether others are
    missing or truncated is found when they are read.

    Returns:
        what has to stand in every place of the files: a few bytes for each image and caption.

    Raises:
        CacheCorruptError: the ledger is damaged, or a file it lists is missing or has another size.
        CacheFormatError: the ledger belongs to another cache, or contradicts the manifest or the totals.
        CacheAccessError: a file cannot be read.
    """
    path = folder / LEDGER_FILE
    table = read_ledger(folder, completion, ["shard", "manifest_sha256", *TOTALS, "files"])
    if table["shard"].to_pylist() != list(range(manifest.shards)) or set(
        table["manifest_sha256"].to_pylist()
    ) != {manifest.sha256}:
        raise CacheFormatError(f"{path}: does not list the {manifest.shards} shards of this manifest")
    sums = {name: sum(table[name].to_pylist()) for name in TOTALS}
    if sums != completion.totals:
        raise CacheFormatError(
            f"{folder / 'zarr.json'}: totals are {completion.totals}, the shards have {sums}"
        )
    layouts = sharded_layouts(manifest).values()
    checksums: dict[str, bytes] = {}
    for shard, row in enumerate(table.to_pylist()):
        recorded = {file["path"]: file for file in row["files"]}
        for layout in layouts:
            _check_recorded(
                path, layout, shard, _rows_in_use(manifest, layout, shard, row["tokens"]), recorded
            )
        # A stranger's ledger may list any path: only those that the format has are ever looked at.
        ours = {name: recorded[name] for name in (layout.shard_file(shard) for layout in layouts)}
        if shard == 0 or isinstance(folder, Path):
            _check_files(folder, shard, ours)
        checksums |= {name: file["crc32c"] for name, file in ours.items()}
    return checksums


def progress(location: Location, manifest: Manifest) -> str:
    """How much of an incomplete cache is written; behind a URL nobody can count files."""
    if not isinstance(location, Path):
        return f"not all of the {manifest.shards} shards are committed"
    try:
        written = len(list((location / LEDGER_FOLDER).glob("*.json")))
    except OSError:  # the writer has just finished, or clears the cache
        return f"not all of the {manifest.shards} shards were committed"
    return f"{written} of {manifest.shards} shards are committed"


def _rows_in_use(manifest: Manifest, layout: ShardedLayout, shard: int, tokens: int) -> int:
    rows = {
        "image": len(manifest.image_range(shard)),
        "caption": manifest.shard_captions[shard],
        "token": tokens,
        "shard": 1,
    }
    return rows[layout.dimensions[0]]


def _check_recorded(
    path: Location, layout: ShardedLayout, shard: int, rows: int, recorded: _Recorded
) -> None:
    name, size, chunks = layout.shard_file(shard), layout.shard_bytes(rows), layout.chunks(rows)
    smallest = size if layout.codec == "none" else layout.index_bytes
    file = recorded.get(name)
    found = (file["bytes"], len(file["crc32c"]) // CHECKSUM_BYTES) if file is not None else (-1, None)
    if not smallest <= found[0] <= size or found[1] != chunks:
        raise CacheFormatError(
            f"{path}: shard {shard}: {name} is recorded with {found[0]} bytes in {found[1]} chunks, the manifest "
            f"implies {'' if smallest == size else 'at most '}{size} in {chunks}"
        )


def _check_files(folder: Location, shard: int, recorded: _Recorded) -> None:
    for name, file in recorded.items():
        size = file["bytes"]
        try:
            found = file_size(folder / name)
        except FileNotFoundError:
            raise CacheCorruptError(
                f"{folder}: shard {shard}: {name} is missing; restore the file or encode again"
            ) from None
        except OSError as error:
            raise unreadable(f"{folder}: shard {shard}: {name}", error) from None
        if found != size:
            raise CacheCorruptError(
                f"{folder}: shard {shard}: {name} has {found} bytes, {size} were written; "
                "restore the file or encode again"
            )
