"""A small cache with everything in it: several captions per image, a skipped image, one without captions, gaps."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from cache import (
    SAMPLES_SCHEMA,
    ActivationCache,
    CacheWriter,
    Manifest,
    ShardActivations,
    captions_of_shards,
)

BACKBONE = {"model": "tiny", "weights_sha256": "ab" * 32, "layer": "last", "preprocessing": {"image_size": 8}}


@dataclass(frozen=True)
class Example:
    """Random activations, a pure function of the fields; image row i has image id 100 + i."""

    caption_counts: tuple[int, ...] = (1, 2, 3, 1, 0, 2, 1, 1, 2, 1, 1)
    undecodable: frozenset[int] = frozenset({3, 7})
    shard_images: int = 4
    grid: tuple[int, int] = (2, 3)
    channels: tuple[int, int] = (5, 4)
    embedding: int = 3
    context_length: int = 9
    storage_dtype: str = "float16"
    codec: str = "none"
    seed: int = 0
    backbone: dict = field(default_factory=lambda: dict(BACKBONE))

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            backbone=self.backbone,
            dataset={"name": "example", "split": "train", "root": "data/example", "fingerprint": "12" * 32},
            storage_dtype=self.storage_dtype,
            codec=self.codec,
            images=len(self.caption_counts),
            captions=sum(self.caption_counts),
            patches=self.grid[0] * self.grid[1],
            grid=self.grid,
            vision_channels=self.channels[0],
            text_channels=self.channels[1],
            embedding=self.embedding,
            context_length=self.context_length,
            shard_images=self.shard_images,
            shard_captions=captions_of_shards(self.caption_counts, self.shard_images),
            versions={"concord": "0.1.0"},
        )

    def shard(self, shard: int) -> tuple[ShardActivations, pa.Table]:
        parts = [self.image(row) for row in self.manifest.image_range(shard)]
        captions = [caption for _, _, of_image, _ in parts for caption in of_image]
        width = self.channels[1]
        activations = ShardActivations(
            vision_tokens=np.stack([part[0] for part in parts]),
            vision_pooled=np.stack([part[1] for part in parts]),
            text_tokens=np.concatenate([np.zeros((0, width), np.float32), *(c[0] for c in captions)]),
            text_lengths=np.array([len(c[0]) for c in captions], np.int64),
            token_ids=np.concatenate([np.zeros(0, np.int64), *(c[1] for c in captions)]),
            text_pooled=np.stack([c[2] for c in captions])
            if captions
            else np.zeros((0, self.embedding), np.float32),
        )
        rows = [row for part in parts for row in part[3]]
        return activations, pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA)

    def image(self, row: int) -> tuple[np.ndarray, np.ndarray, list[tuple], list[dict]]:
        """Patch tokens, pooled embedding, captions (tokens, token ids, pooled) and rows of samples."""
        rng = np.random.default_rng([self.seed, row])
        vision = rng.standard_normal((self.grid[0] * self.grid[1], self.channels[0]), np.float32) * 3
        pooled = rng.standard_normal(self.embedding, np.float32)
        common = {
            "image_row": row,
            "image_id": 100 + row,
            "file": f"train/{row:06d}.jpg",
            "width": 8,
            "height": 8,
            "categories": ["boat"],
            "objects": [
                {
                    "category": "boat",
                    "box": [0.0, 1.0, 2.0, 3.0],
                    "segmentation": "",
                    "concepts": ["noun:boat"],
                }
            ],
            "image_concepts": ["noun:boat"],
            "split": "train",
        }
        if row in self.undecodable:
            vision, pooled = np.zeros_like(vision), np.zeros_like(pooled)
        captions, rows = [], []
        for number in range(self.caption_counts[row]):
            length = 0 if row in self.undecodable else int(rng.integers(1, self.context_length + 1))
            tokens = rng.standard_normal((length, self.channels[1]), np.float32)
            text_pooled = rng.standard_normal(self.embedding, np.float32) * (length > 0)
            captions.append((tokens, rng.integers(0, 1000, length), text_pooled))
            reason = "image cannot be decoded" if row in self.undecodable else None
            caption = {"caption_id": 1000 + 10 * row + number, "caption": f"caption {number} of {row}"}
            rows.append({**common, **caption, "caption_concepts": ["noun:boat"], "skip_reason": reason})
        if not rows:
            rows.append({**common, "skip_reason": "no caption"})
        return vision, pooled, captions, rows

    def write_into(self, writer: CacheWriter) -> ActivationCache:
        """Write what is missing and finish."""
        for shard in writer.missing_shards:
            writer.write_shard(shard, *self.shard(shard))
        return writer.finish()

    def write(self, path: Path) -> ActivationCache:
        return self.write_into(CacheWriter.open(path, self.manifest))
