"""Reading takes no more memory than it says, however large the cache is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cache import SAMPLES_SCHEMA, CacheWriter, Manifest, ShardActivations

SCRIPT = Path(__file__).with_name("measured_streaming.py")
IMAGES, SHARD, PATCHES, CHANNELS = 2400, 400, 64, 256
NOISE = 8 << 20
"""What an interpreter's allocators keep or let go of meanwhile."""


def write_large(path):
    """A cache of 80 MB, quickly."""
    manifest = Manifest(
        backbone={}, dataset={}, images=IMAGES, captions=IMAGES, patches=PATCHES, grid=(8, 8),
        vision_channels=CHANNELS, text_channels=64, embedding=16, context_length=16, shard_images=SHARD,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    activations = ShardActivations(
        rng.standard_normal((SHARD, PATCHES, CHANNELS), np.float32).astype(np.float16),
        np.ones((SHARD, 16), np.float16),
        np.ones((8 * SHARD, 64), np.float16),
        np.full(SHARD, 8),
        np.arange(8 * SHARD),
        np.ones((SHARD, 16), np.float16),
    )
    with CacheWriter.open(path, manifest) as writer:
        for shard in range(manifest.shards):
            rows = [
                {"image_row": row, "image_id": row, "caption_id": row, "file": "", "caption": ""}
                for row in manifest.image_range(shard)
            ]
            writer.write_shard(shard, activations, pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA))
        return writer.finish()


@pytest.fixture(scope="module")
def measured(cache, tmp_path_factory):
    """Bytes taken and bytes promised, by what was done."""
    large = write_large(tmp_path_factory.mktemp("large") / "large.zarr")
    command = [sys.executable, SCRIPT, cache.path, large.path]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("way", ["small budget", "default", "iterate"])
def test_streaming_keeps_to_its_bound_in_a_cache_several_times_larger(measured, way):
    taken, bound = measured[way]
    assert bound < IMAGES * PATCHES * CHANNELS * 2 / 3
    assert taken <= bound + NOISE


def test_a_small_budget_is_kept(measured):
    assert measured["small budget"][1] < measured["default"][1]


def test_what_is_measured_would_show_a_cache_in_memory(measured):
    taken, bound = measured["host"]
    assert IMAGES * PATCHES * CHANNELS * 2 <= taken <= bound + NOISE
