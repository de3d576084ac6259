"""Write a cache of many shards into a folder, work on all of it, and print how much memory that took, in shards.

Run as `python measure_memory.py FOLDER`; prints a JSON object: operation -> largest memory beyond that before it, as
a multiple of the bytes of one shard. It has its own process because the allocator keeps what others have freed.
"""

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from cache import SAMPLES_SCHEMA, ActivationCache, CacheWriter, Manifest, ShardActivations
from cache.operations import convert, export, verify

SHARDS, SHARD_IMAGES, PATCHES, CHANNELS = 10, 32, 256, 512  # 8 MB of float16 in a shard
SHARD_BYTES = SHARD_IMAGES * PATCHES * CHANNELS * 2


def write(path: Path) -> None:
    manifest = Manifest(
        backbone={"model": "none"},
        dataset={"name": "none"},
        images=SHARDS * SHARD_IMAGES,
        captions=SHARDS * SHARD_IMAGES,
        patches=PATCHES,
        grid=(16, 16),
        vision_channels=CHANNELS,
        text_channels=8,
        embedding=8,
        context_length=8,
        shard_images=SHARD_IMAGES,
    )
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((SHARD_IMAGES, PATCHES, CHANNELS), np.float32).astype(np.float16)
    few = rng.standard_normal((SHARD_IMAGES, 8), np.float32)
    ones = np.ones(SHARD_IMAGES, np.int64)
    with CacheWriter.open(path, manifest) as writer:
        for shard in writer.missing_shards:
            rows = [
                {"image_row": row, "image_id": row, "caption_id": row, "file": f"{row}.jpg"}
                for row in writer.shard_images(shard)
            ]
            samples = pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA)
            writer.write_shard(shard, ShardActivations(tokens, few, few, ones, ones, few), samples)
        writer.finish().close()


def peak(work: Callable[[], object]) -> float:
    """The most memory that `work` takes beyond what is taken before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    work()
    return (resident("VmHWM") - before) / SHARD_BYTES


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main(folder: Path) -> None:
    write(folder / "source.zarr")
    with ActivationCache.open(folder / "source.zarr") as cache:
        measured = {
            "verify": peak(lambda: verify(cache.path)),
            "convert": peak(
                lambda: convert(cache, folder / "converted.zarr", shard_images=SHARD_IMAGES // 2)
            ),
            "export": peak(lambda: export(cache, folder / "files", "safetensors")),
        }
    print(json.dumps(measured))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
