"""Whether reading the large arrays is better left to zarr-python.

`python -m benchmarks.zarr_reading --json FILE --newest PYTHON` reads the same rows of a cache, in random order and
one after another, with this package's reader and with zarr-python: the one installed here, and the one that another
interpreter, `PYTHON`, has. zarr-python is asked in every way that it offers: a slice for each run of rows, or
`oindex` for all of them; its default codec pipeline, or the fused one. All is in the page cache. Speeds are of the
rows as stored, so ratios say how many times slower a way is than our reader.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from benchmarks.measurement import Spread, file_system, interleaved, paired_ratio, seconds, write_result
from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache

ARRAYS = {"vision/tokens": "image", "text/tokens": "token", "vision/pooled": "image"}
"""Arrays, and what a row of each is: with chunks of 300 KB, 24 KB and 2 KB if there are 768 channels."""
WORKER = Path(__file__).with_name("zarr_worker.py")
WAYS = ("slices", "oindex")
ORDERS = ("random", "in order")
Rows = Int[np.ndarray, "row"]


class Worker:
    """zarr-python in an interpreter of its own, reading in one way."""

    def __init__(self, python: str, path: Path, pipeline: str, way: str) -> None:
        """Start it. Raises ValueError if it cannot open the array so."""
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(WORKER), str(path), pipeline, way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self._answer()

    def seconds(self, name: str, rows: Rows) -> float:
        """What reading rows of an array took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, rows.tolist()]) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise ValueError(f"{self._process.args} ended")
        return line


def workers(pythons: list[str], path: Path) -> dict[str, Worker]:
    """Every combination of interpreter, codec pipeline and way to read that works, by its name."""
    started: dict[str, Worker] = {}
    for python in pythons:
        for pipeline in ("default", "FusedCodecPipeline"):
            for way in WAYS:
                try:
                    worker = Worker(python, path, pipeline, way)
                    worker.seconds(next(iter(ARRAYS)), np.arange(2))
                except ValueError:
                    continue  # zarr-python 3.1 has no fused pipeline
                fused = ", fused" if pipeline != "default" else ""
                started[f"zarr {worker.version} {way}{fused}"] = worker
    return started


def measure(
    cache: ActivationCache, others: dict[str, Worker], rows: int, rounds: int
) -> dict[str, list[float]]:
    """MB per second by reader, array and order, for each round."""
    generator = np.random.default_rng(0)
    there = {
        "image": cache.manifest.images,
        "token": int(cache.caption_lengths[: cache.manifest.shard_images].sum()),
    }

    def ours(name: str, wanted: Rows) -> float:
        return seconds(lambda: cache.read_rows(name, wanted))

    def speed(read: Callable[[str, Rows], float], name: str, order: str) -> float:
        number = there[ARRAYS[name]]
        first = generator.integers(0, number - rows)
        wanted = generator.permutation(number)[:rows] if order == "random" else np.arange(first, first + rows)
        size = cache.read_rows(name, wanted).nbytes
        return size / read(name, wanted) / 1e6

    readers = {"ours": ours, **{name: worker.seconds for name, worker in others.items()}}
    return interleaved(
        {
            f"{name}, {order}, {reader}": partial(speed, read, name, order)
            for name in ARRAYS
            for order in ORDERS
            for reader, read in readers.items()
        },
        rounds,
    )


def main(command_line: list[str] | None = None) -> None:
    """Measure; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--newest", help="an interpreter that has a newer zarr-python")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--shard-images", type=int, default=512)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--rows", type=int, default=64, help="read at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be measured")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(1)
    activations = synthetic_activations(arguments.images, arguments.shard_images, arguments.channels)
    pythons = [sys.executable, *([arguments.newest] if arguments.newest else [])]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary, ExitStack() as stack:
        cache = stack.enter_context(write_cache(Path(temporary) / "cache.zarr", activations))
        others = workers(pythons, cache.path)
        for worker in others.values():
            stack.callback(worker.close)
        speeds = measure(cache, others, arguments.rows, arguments.rounds)
    write_result(
        arguments,
        "benchmarks.zarr_reading",
        ratios={
            f"{name}, {order}, {reader}": paired_ratio(
                speeds[f"{name}, {order}, ours"], speeds[f"{name}, {order}, {reader}"]
            )
            for name in ARRAYS
            for order in ORDERS
            for reader in others
        },
        measured={name: Spread.of(rates, "MB/s") for name, rates in speeds.items()},
        conditions={
            "images": arguments.images,
            "channels": arguments.channels,
            "rows_at_a_time": arguments.rows,
            "rounds": arguments.rounds,
            "file_system": file_system(arguments.folder),
        },
        packages=("numpy", "numcodecs", "zarr"),
    )


if __name__ == "__main__":
    main()
