"""Writing a new cache from rows of finished ones, shard by shard: what subset, merge and convert have in common."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float, Int

from cache.batch import packed_rows
from cache.errors import CacheError
from cache.format.manifest import Manifest, captions_of_shards
from cache.format.samples import SAMPLES_SCHEMA
from cache.operations.tasks import OnProgress, computed
from cache.reading.reader import ActivationCache
from cache.writing.activations import ShardActivations
from cache.writing.writer import CacheWriter

SHARDS_TOGETHER = 2
"""Shards that are gathered at a time, each a Dask task; the memory that rewriting takes is proportional to it."""


@dataclass(frozen=True, eq=False)
class SourceRows:
    """Rows of samples of one finished cache that a new cache takes over.

    Attributes:
        cache: where they are.
        rows: int64 [row], numbers of rows of `cache.format.samples`, ascending.
        file_prefix: what to put before the paths of its image files.
    """

    cache: ActivationCache
    rows: Int[np.ndarray, "row"]
    file_prefix: str = ""

    @functools.cached_property
    def image_starts(self) -> Int[np.ndarray, "image_and_one"]:
        """int64 [image + 1]: rows of the i-th image taken over are `rows[image_starts[i] : image_starts[i + 1]]`."""
        images = self.cache.sample_numbers["image_row"].to_numpy()[self.rows]
        changes = np.flatnonzero(np.diff(images)) + 1
        return np.concatenate([np.zeros(1, np.int64), changes, [len(images)]])

    @property
    def images(self) -> int:
        """How many images are taken over."""
        return len(self.image_starts) - 1

    @functools.cached_property
    def captions_of_images(self) -> Int[np.ndarray, "image"]:
        """Captions of each image that are taken over."""
        captioned = (
            self.cache.sample_numbers["caption_row"].is_valid().to_numpy(zero_copy_only=False)[self.rows]
        )
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(captioned)])
        return np.diff(before[self.image_starts])

    def part(self, first: int, last: int) -> "SourceRows":
        """Only the images `first` to `last - 1` of those taken over."""
        rows = self.rows[self.image_starts[first] : self.image_starts[last]]
        return SourceRows(self.cache, rows, self.file_prefix)


def rewritten_manifest(sources: Sequence[SourceRows], **changes: Any) -> Manifest:
    """The manifest of the first source with other rows and with `changes`.

    Raises:
        CacheError: no row is taken over.
        CacheFormatError: the changes contradict each other or the format.
    """
    captions = np.concatenate([source.captions_of_images for source in sources]).tolist()
    if not captions:
        raise CacheError(f"{sources[0].cache}: nothing is selected, and a cache cannot be empty")
    values = {**sources[0].cache.manifest.to_json(), **changes}
    values |= {
        "images": len(captions),
        "captions": sum(captions),
        "shard_captions": captions_of_shards(captions, values["shard_images"]),
    }
    return Manifest.from_json(values, "the new cache")


def provenance(operation: str, caches: Sequence[ActivationCache], **details: Any) -> dict[str, Any]:
    """What a new cache's manifest says, under `dataset.derived`, of the caches that it was made from.

    Values that were clipped when a source was written are not clipped, nor counted, again, so their count is kept here.
    """
    return {"operation": operation, **details, "from": [_source(cache) for cache in caches]}


def _source(cache: ActivationCache) -> dict[str, Any]:
    dataset = cache.manifest.dataset
    overflow = {side: statistics.overflow for side, statistics in cache.statistics.items()}
    earlier = {"derived": dataset["derived"]} if "derived" in dataset else {}
    return {
        "manifest_sha256": cache.manifest.sha256,
        "content_blake3": cache.content_blake3,
        **cache.manifest.storage,
        "overflow": overflow,
        **earlier,
    }


def rewrite(
    sources: Sequence[SourceRows], target: Path, manifest: Manifest, on_progress: OnProgress | None
) -> ActivationCache:
    """Write the cache of `manifest` from the rows of `sources`, one after another, or finish an interrupted one.

    `SHARDS_TOGETHER` shards of the new cache are in memory at a time, and what writing one of them takes.

    Raises:
        CacheIdentityError: another cache is at `target`; names both values of every key that differs.
        CacheCorruptError: a source is damaged; names array and shard.
        DiskSpaceError, CacheLockedError: as `CacheWriter.open`.
    """
    with CacheWriter.open(target, manifest, sum(source.cache.text_tokens for source in sources)) as writer:
        shards = writer.missing_shards
        gathered = computed(functools.partial(_gathered, sources, manifest), shards, SHARDS_TOGETHER)
        for done, (shard, (activations, samples)) in enumerate(zip(shards, gathered, strict=True), start=1):
            writer.write_shard(shard, activations, samples)
            if on_progress is not None:
                on_progress(manifest.shards - len(shards) + done, manifest.shards)
        return writer.finish()


def _gathered(
    sources: Sequence[SourceRows], manifest: Manifest, shard: int
) -> tuple[ShardActivations, pa.Table]:
    """What the writer takes for one shard of the new cache."""
    images = manifest.image_range(shard)
    parts = list(_parts(sources, images))
    fields = zip(*map(_activations, parts), strict=True)
    arrays = [field[0] if len(parts) == 1 else np.concatenate(field) for field in fields]
    samples = pa.concat_tables(map(_samples, parts))
    rows = np.repeat(np.array(images), np.concatenate([np.diff(part.image_starts) for part in parts]))
    position = SAMPLES_SCHEMA.get_field_index("image_row")
    return ShardActivations(*arrays), samples.set_column(position, "image_row", pa.array(rows))


def _parts(sources: Sequence[SourceRows], images: range) -> Iterator[SourceRows]:
    """The sources of some image rows of the new cache."""
    start = 0
    for source in sources:
        first, last = max(images.start - start, 0), min(images.stop - start, source.images)
        if first < last:
            yield source.part(first, last)
        start += source.images


def _activations(part: SourceRows) -> ShardActivations:
    cache, samples = part.cache, part.cache.sample_numbers
    images = samples["image_row"].to_numpy()[part.rows[part.image_starts[:-1]]]
    captions = samples["caption_row"].take(pa.array(part.rows)).drop_null().to_numpy()
    lengths = cache.caption_lengths[captions]
    tokens, _ = packed_rows(torch.from_numpy(cache.caption_starts[captions]), torch.from_numpy(lengths))
    return ShardActivations(
        vision_tokens=_values(cache, "vision/tokens", images),
        vision_pooled=_values(cache, "vision/pooled", images),
        text_tokens=_values(cache, "text/tokens", tokens.numpy()),
        text_lengths=lengths,
        token_ids=cache.read_rows("text/token_ids", tokens.numpy()),
        text_pooled=_values(cache, "text/pooled", captions),
    )


def _values(cache: ActivationCache, name: str, rows: Int[np.ndarray, "row"]) -> Float[np.ndarray, "row ..."]:
    """Rows in a dtype of numpy that holds them exactly: as stored if that is float16 or float32, else float32."""
    stored = cache.read_stored(name, rows)
    exact = stored.values.dtype in (torch.float16, torch.float32)
    values: Float[np.ndarray, "row ..."] = (stored.values if exact else stored.decoded()).numpy()
    return values


def _samples(part: SourceRows) -> pa.Table:
    """Rows of samples, the image files under their new path."""
    samples = part.cache.read_sample_rows(part.rows)
    if not part.file_prefix:
        return samples
    position = SAMPLES_SCHEMA.get_field_index("file")
    files = pc.binary_join_element_wise(pa.scalar(part.file_prefix), samples["file"], "")
    return samples.set_column(position, SAMPLES_SCHEMA.field(position), files)
