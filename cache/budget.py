"""How many bytes a cache takes, known before anything is written."""

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheError, DiskSpaceError
from cache.layout import TOKEN_CHUNK, sharded_layouts
from cache.manifest import Manifest

_RECORD_BYTES_PER_SAMPLE = 4096
"""Generous allowance for a row of samples (captions, boxes, segmentations) in two Parquet files."""

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class DiskBudget:
    """Bytes that a whole cache takes at most; the text share assumes captions as long as they may be.

    Attributes:
        vision: patch tokens and pooled image embeddings.
        text: caption tokens, token ids and pooled caption embeddings.
        records: samples, ledger and statistics.
    """

    vision: int
    text: int
    records: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.vision + self.text + self.records


def disk_budget(manifest: Manifest, text_tokens: int | None = None) -> DiskBudget:
    """The bytes that the cache described by `manifest` will take.

    Args:
        manifest: of the cache to be written.
        text_tokens: how many text tokens all captions have together, if the caller has counted; otherwise every
            caption is taken to fill the context.
    """
    layouts = sharded_layouts(manifest)
    longest = manifest.captions * manifest.context_length
    tokens = longest if text_tokens is None else text_tokens
    rows = {
        "vision/tokens": manifest.images,
        "vision/pooled": manifest.images,
        "text/pooled": manifest.captions,
        "text/tokens": tokens + manifest.shards * TOKEN_CHUNK,  # the last chunk of a shard is padded
        "text/token_ids": tokens + manifest.shards * TOKEN_CHUNK,
    }
    size = {
        name: layouts[name].shard_bytes(count) + (manifest.shards - 1) * layouts[name].index_bytes
        for name, count in rows.items()
    }
    channels = manifest.vision_channels + manifest.text_channels
    return DiskBudget(
        vision=size["vision/tokens"] + size["vision/pooled"],
        text=size["text/tokens"] + size["text/token_ids"] + size["text/pooled"],
        records=(manifest.images + manifest.captions) * _RECORD_BYTES_PER_SAMPLE
        + (manifest.shards + 1) * (64 * channels + 65536),
    )


def refuse_full_disk(path: Path, needed: int) -> None:
    """Check that the disk of `path` has `needed` bytes free.

    Raises:
        DiskSpaceError: naming both numbers.
    """
    free = _free_bytes(path)
    if needed > free:
        raise DiskSpaceError(
            f"{path}: the cache needs up to {_readable(needed)} more, the disk has {_readable(free)} free; make room, "
            "choose another disk, or encode fewer images"
        )


def write_error(error: OSError, path: Path, where: str, committed: str) -> CacheError:
    """The error to raise when `error` ended writing the cache at `path`, telling how much is `committed`.

    It is a DiskSpaceError if the disk, a quota or the limit on the size of a file is exhausted.
    """
    if error.errno not in _FULL_DISK:
        return CacheError(f"{where}: cannot be written ({error}); {committed} and kept")
    return DiskSpaceError(
        f"{where}: the disk is full ({error.strerror}; {_readable(_free_bytes(path))} free); {committed} and kept: "
        "make room and run the same command again"
    )


def _free_bytes(path: Path) -> int:
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _readable(size: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
