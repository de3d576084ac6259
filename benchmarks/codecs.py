"""What each codec saves and costs on the embedded world: `python -m benchmarks.codecs --json FILE`.

The validation split is encoded once in float32 and converted from there to every codec and every dtype that it takes.
For each it measures

- the bytes on disk of one pair, calibration and checksums included;
- how fast one thread encodes and decodes the vision tokens: megabytes of values as stored, per second of its processor;
- how fast shuffled batches come off the disk, all of it in the page cache;
- the fraction of the tokens' variance that is lost.

Candidates take turns, round after round; a speed is the median over the rounds. `python -m benchmarks.storage_page`
puts the result into docs/storage.md.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measurement import interleaved, seconds
from benchmarks.storage import bytes_per_pair, encoded
from cache import ActivationCache, PairLoader
from cache.format.codecs import CODECS
from cache.format.storage_options import CODEC_DTYPES
from cache.operations import convert
from cache.operations.lost_variance import lost_variance
from pipeline.backbone.loading import load_backbone
from pipeline.params import load_params

ARRAY = "vision/tokens"
IMAGES = 64
"""Images whose tokens are encoded and decoded in a round."""

BATCH_PAIRS = 64


def chunk_speeds(cache: ActivationCache) -> dict[str, Any]:
    """Functions that encode and decode the tokens of some images, and return MB per second of the processor."""
    codec = CODECS[cache.manifest.codec]
    tokens = cache.read_rows(ARRAY, range(min(IMAGES, cache.manifest.images)))
    chunks = list(tokens.reshape(len(tokens), -1).view(np.uint8))
    if codec.compressor is None:
        return {}
    stored = [np.frombuffer(codec.encode(chunk, tokens.dtype), np.uint8) for chunk in chunks]
    target = np.empty_like(chunks[0])
    megabytes = tokens.nbytes / 1e6

    def encode() -> float:
        started = time.thread_time()
        for chunk in chunks:
            codec.encode(chunk, tokens.dtype)
        return megabytes / (time.thread_time() - started)

    def decode() -> float:
        started = time.thread_time()
        for part in stored:
            codec.decode(part, target, tokens.dtype)
        return megabytes / (time.thread_time() - started)

    return {"encode": encode, "decode": decode}


def stream_speed(cache: ActivationCache) -> float:
    """Pairs per second of an epoch of shuffled batches."""
    loader = PairLoader(cache, BATCH_PAIRS, seed=0, placement="stream")
    taken = seconds(lambda: [None for _ in loader.batches(0)])
    return loader.steps_per_epoch * BATCH_PAIRS / taken


def measure(exact: ActivationCache, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Everything about every codec and dtype."""
    caches = {
        (codec, dtype): convert(exact, folder / f"val-{dtype}-{codec}.zarr", dtype, codec)
        for codec, dtypes in CODEC_DTYPES.items()
        for dtype in dtypes
    }
    candidates: dict[tuple[str, str, str], Any] = {}
    for form, cache in caches.items():
        candidates |= {(*form, what): speed for what, speed in chunk_speeds(cache).items()}
        candidates[(*form, "stream")] = partial(stream_speed, cache)
    speeds = interleaved(candidates, rounds)
    return [
        {
            "codec": codec,
            "dtype": dtype,
            "bytes_per_pair": bytes_per_pair(cache),
            **{
                what: float(f"{statistics.median(speeds[codec, dtype, what]):.3g}")
                for what in ("encode", "decode", "stream")
                if (codec, dtype, what) in speeds
            },
            "unexplained_variance": {side: lost.all for side, lost in lost_variance(cache, exact).items()},
        }
        for (codec, dtype), cache in caches.items()
    ]


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure all codecs; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--folder", type=Path, default=Path("data/storage"), help="where the caches are kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    params = load_params(arguments.params)
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    exact = encoded(params, "val", load_backbone(params.backbone), arguments.folder)
    result = {
        "codecs": measure(exact, arguments.folder, arguments.rounds),
        "conditions": {
            "pairs": exact.pairs,
            "patches": exact.manifest.patches,
            "vision_channels": exact.manifest.vision_channels,
            "text_channels": exact.manifest.text_channels,
            "rounds": arguments.rounds,
            "load_average_at_end": round(os.getloadavg()[0], 2),
        },
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("numcodecs", "pcodec", "zarr")},
        "command": shlex.join(["python", "-m", "benchmarks.codecs", *(command_line or sys.argv[1:])]),
    }
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
