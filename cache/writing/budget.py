"""How many bytes a cache takes, known before anything is written."""

import errno
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from cache.errors import CacheError, DiskSpaceError, reason_and_file
from cache.format.layout import TOKEN_CHUNK, sharded_layouts
from cache.format.manifest import Manifest

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


def disk_budget(
    manifest: Manifest, text_tokens: int | None = None, shards: Collection[int] | None = None
) -> DiskBudget:
    """The bytes that the cache described by `manifest` will take, or what remains to be written of it.

    Args:
        manifest: of the cache to be written.
        text_tokens: how many text tokens all captions have together, if the caller has counted; otherwise every
            caption is taken to fill the context.
        shards: those that remain to be written; None for all. Samples and ledger are written for all in any case.
    """
    if shards is None:
        shards = range(manifest.shards)
    captions = sum(manifest.shard_captions[shard] for shard in shards)
    longest = captions * manifest.context_length
    tokens = longest if text_tokens is None else min(text_tokens, longest)
    rows = {
        "image": sum(len(manifest.image_range(shard)) for shard in shards),
        "caption": captions,
        "token": tokens + len(shards) * TOKEN_CHUNK,  # the last chunk of a shard is padded
        "shard": len(shards),
    }
    size = {"vision": 0, "text": 0}
    for name, layout in sharded_layouts(manifest).items():
        indices = (len(shards) - 1) * layout.index_bytes
        size[name.split("/")[0]] += layout.shard_bytes(rows[layout.dimensions[0]]) + indices
    channels = manifest.vision_channels + manifest.text_channels
    return DiskBudget(
        vision=size["vision"],
        text=size["text"],
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
            f"{path}: the cache needs up to {decimal(needed)} more, the disk has {decimal(free)} free; make room, "
            "choose another disk, or encode fewer images"
        )


def write_error(error: OSError, path: Path, where: str, committed: str) -> CacheError:
    """The error to raise when `error` ended writing the cache at `path`, telling how much is `committed`.

    It is a DiskSpaceError if the disk, a quota or the limit on the size of a file is exhausted.
    """
    if error.errno not in _FULL_DISK:
        return CacheError(
            f"{where}: cannot be written ({reason_and_file(error)}); {committed} and kept: see to that and run the "
            "same command again"
        )
    return DiskSpaceError(
        f"{where}: the disk is full ({error.strerror}; {decimal(_free_bytes(path))} free); {committed} and kept: "
        "make room and run the same command again"
    )


@contextmanager
def failed_preparation_is_reported(path: Path) -> Iterator[None]:
    """Turn an OSError, of what is done before shards of the cache at `path` are written, into a `write_error`."""
    try:
        yield
    except OSError as error:
        raise write_error(error, path, str(path), "committed shards are untouched") from None


def _free_bytes(path: Path) -> int:
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
