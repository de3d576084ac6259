"""Random activations of a backbone's shapes: as large as real ones, and as hard to compress."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cache import (
    SAMPLES_SCHEMA,
    ActivationCache,
    CacheWriter,
    Manifest,
    ShardActivations,
    captions_of_shards,
)

GRID = (14, 14)
CONTEXT_LENGTH = 64
FEWEST_TOKENS, MOST_TOKENS = 6, 18


@dataclass(frozen=True, eq=False)
class SyntheticActivations:
    """Activations of images with one caption each, so that image i, caption i and pair i are the same.

    Attributes:
        arrays: by name, rows first: float16 vision_tokens [image, patch, channel], vision_pooled and text_pooled
            [image, channel], text_tokens [token, channel]; int64 token_ids [token].
        lengths: int64 [image], tokens of each caption.
        shard_images: images of one shard.
    """

    arrays: Mapping[str, NDArray[Any]]
    lengths: NDArray[np.int64]
    shard_images: int

    @property
    def images(self) -> int:
        """Number of images, of captions and of pairs."""
        return len(self.lengths)

    @property
    def starts(self) -> NDArray[np.int64]:
        """int64 [image + 1], first row of each caption in `text_tokens`, and the number of rows."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @property
    def bytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def shards(self) -> Iterator[dict[str, NDArray[Any]]]:
        """The arrays of one shard after the other, views."""
        for first in range(0, self.images, self.shard_images):
            images = slice(first, min(first + self.shard_images, self.images))
            tokens = slice(self.starts[images.start], self.starts[images.stop])
            yield {
                name: array[tokens if name in {"text_tokens", "token_ids"} else images]
                for name, array in self.arrays.items()
            }


def synthetic_activations(images: int, shard_images: int, channels: int) -> SyntheticActivations:
    """Normally distributed activations, the same in every run."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(FEWEST_TOKENS, MOST_TOKENS + 1, images)
    shapes = {
        "vision_tokens": (images, GRID[0] * GRID[1], channels),
        "vision_pooled": (images, channels),
        "text_tokens": (int(lengths.sum()), channels),
        "text_pooled": (images, channels),
    }
    arrays: dict[str, NDArray[Any]] = {name: np.empty(shape, np.float16) for name, shape in shapes.items()}
    for array in arrays.values():
        for row in array:
            row[...] = generator.standard_normal(row.shape, np.float32)
    arrays["token_ids"] = generator.integers(0, 32_000, len(arrays["text_tokens"]))
    return SyntheticActivations(arrays, lengths, shard_images)


def write_cache(path: Path, activations: SyntheticActivations) -> ActivationCache:
    """Write `activations` as an activation cache."""
    writer = CacheWriter.open(path, _manifest(activations))
    for shard, arrays in enumerate(activations.shards()):
        rows = writer.shard_images(shard)
        lengths = activations.lengths[rows.start : rows.stop]
        writer.write_shard(shard, ShardActivations(text_lengths=lengths, **arrays), _samples(rows))
    return writer.finish()


def _manifest(activations: SyntheticActivations) -> Manifest:
    _, patches, channels = activations.arrays["vision_tokens"].shape
    return Manifest(
        backbone={"name": "synthetic"},
        dataset={"name": "synthetic"},
        storage_dtype="float16",
        images=activations.images,
        captions=activations.images,
        shard_captions=captions_of_shards([1] * activations.images, activations.shard_images),
        patches=patches,
        grid=GRID,
        vision_channels=channels,
        text_channels=channels,
        embedding=channels,
        context_length=CONTEXT_LENGTH,
        shard_images=activations.shard_images,
        versions={},
    )


def _samples(rows: range) -> pa.Table:
    columns = {
        "image_row": rows,
        "image_id": rows,
        "caption_id": rows,
        "file": [f"{row:08d}.jpg" for row in rows],
        "caption": ["a caption"] * len(rows),
    }
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(len(rows), field.type)
            for field in SAMPLES_SCHEMA
        ],
        schema=SAMPLES_SCHEMA,
    )
