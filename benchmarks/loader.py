"""How fast shuffled batches of pairs come off the disk, and how fast they get there.

`python -m benchmarks.loader --json FILE` writes the same activations as a cache and in the formats that people use
instead, then reads them in the same random order, cold (nothing in the page cache) and warm (everything in it).
Every store returns the same batches: float32 tensors of both sides. Throughput counts pairs, so ratios are speed-ups.

`write_over_raw` compares writing a whole cache, checks, statistics, checksums and hashes included, to writing the
same arrays to plain files, both made durable with fsync. The cache goes past the page cache at a steady speed; plain
files are copied into it, and are slowed down once much of it waits to be written. So the ratio grows with the size:
at half of this one (`--images 1024`) it was below one half.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.measurement import (
    Spread,
    file_system,
    forget_files,
    interleaved,
    paired_ratio,
    seconds,
    write_result,
)
from benchmarks.stores import (
    MemoryMap,
    SafetensorsShards,
    Store,
    TensorStore,
    TorchShards,
    ZarrPython,
    read_pairs,
)
from benchmarks.synthetic import SyntheticActivations, synthetic_activations, write_cache
from cache import ActivationCache, PairBatch, PairLoader, batch_indices

SEED = 0
SLOW_BATCHES = 2
"""Batches per round of a store that is many times slower than the others."""


class Epoch:
    """One pass over shuffled batches: a source of batches, and how many of them make a round."""

    def __init__(self, batches: Callable[[], Iterator[PairBatch]], count: int, batch_pairs: int) -> None:
        self._batches, self._count, self._pairs = batches, count, count * batch_pairs

    def first(self) -> PairBatch:
        """The first batch."""
        return next(self._batches())

    def speed(self, prepare: Callable[[], object] = lambda: None) -> float:
        """Pairs per second of a round, after `prepare`, which is not timed."""
        prepare()
        return self._pairs / seconds(lambda: [None for _ in islice(self._batches(), self._count)])


def measure_reading(
    cache: ActivationCache, activations: SyntheticActivations, folder: Path, batch_pairs: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, object]]:
    """Pairs per second by name and round, and the conditions."""
    stores, absent = _stores(cache, activations, folder)
    steps = activations.images // batch_pairs
    orders = [batch_indices(activations.images, batch_pairs, SEED, 0, step) for step in range(steps)]
    epochs = {
        name: Epoch(
            partial(map, partial(read_pairs, store, activations.lengths), orders),
            min(steps, SLOW_BATCHES) if isinstance(store, ZarrPython) else steps,
            batch_pairs,
        )
        for name, store in stores.items()
    }
    loaders = {name: PairLoader(cache, batch_pairs, SEED, placement=name) for name in ("stream", "host")}
    epochs |= {
        name: Epoch(partial(loader.batches, 0), steps, batch_pairs) for name, loader in loaders.items()
    }
    _refuse_different_batches(epochs)
    candidates: dict[str, Callable[[], float]] = {"host, warm": epochs["host"].speed}
    dropped: set[str] = set()
    for name in ("stream", *stores):
        candidates[f"{name}, cold"] = partial(
            epochs[name].speed, partial(_forget, stores.get(name), folder, dropped)
        )
        candidates[f"{name}, warm"] = epochs[name].speed
    speeds = interleaved(candidates, rounds)
    return speeds, {
        "cold_by": sorted(dropped),
        "reading_threads": {name: store.threads for name, store in stores.items()} | {"stream": _threads()},
        **absent,
    }


def measure_writing(activations: SyntheticActivations, folder: Path, rounds: int) -> dict[str, list[float]]:
    """MB per second of a cache and of plain files, by round."""

    def speed(write: Callable[[Path, SyntheticActivations], object]) -> float:
        target = folder / "written"
        os.sync()
        taken = seconds(partial(write, target, activations))
        shutil.rmtree(target)
        return activations.bytes / taken / 1e6

    return interleaved({"cache": partial(speed, write_cache), "raw": partial(speed, write_raw)}, rounds)


def write_raw(folder: Path, activations: SyntheticActivations) -> None:
    """Write every array of every shard to a file of its own, and make it durable."""
    folder.mkdir()
    for shard, arrays in enumerate(activations.shards()):
        for name, array in arrays.items():
            with (folder / f"{name}.{shard}").open("wb") as file:
                file.write(array.data)
                file.flush()
                os.fsync(file.fileno())


def main(command_line: list[str] | None = None) -> None:
    """Measure reading and writing; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--shard-images", type=int, default=512)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--batch-pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be measured")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(1)
    activations = synthetic_activations(arguments.images, arguments.shard_images, arguments.channels)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        writing = measure_writing(activations, folder, arguments.rounds)
        cache = write_cache(folder / "cache.zarr", activations)
        reading, conditions = measure_reading(
            cache, activations, folder, arguments.batch_pairs, arguments.rounds
        )
    write_result(
        arguments,
        "benchmarks.loader",
        ratios={
            "stream_over_memmap_warm": paired_ratio(reading["stream, warm"], reading["memmap, warm"]),
            "stream_over_memmap_cold": paired_ratio(reading["stream, cold"], reading["memmap, cold"]),
            "host_over_memmap": paired_ratio(reading["host, warm"], reading["memmap, warm"]),
            "write_over_raw": paired_ratio(writing["cache"], writing["raw"]),
        },
        measured={name: Spread.of(speeds, "pairs/s") for name, speeds in reading.items()}
        | {f"writing, {name}": Spread.of(speeds, "MB/s") for name, speeds in writing.items()},
        conditions={
            "pairs": activations.images,
            "bytes_per_pair": activations.bytes // activations.images,
            "rounds": arguments.rounds,
            "file_system": file_system(arguments.folder),
            **conditions,
        },
        packages=("numpy", "safetensors", "tensorstore", "torch", "zarr"),
    )


def _stores(
    cache: ActivationCache, activations: SyntheticActivations, folder: Path
) -> tuple[dict[str, Store], dict[str, str]]:
    """The stores to compare with, by name, and why those that cannot be are left out."""
    stores: dict[str, Store] = {
        "memmap": MemoryMap(folder / "memmap", activations),
        "safetensors": SafetensorsShards(folder / "safetensors", activations),
        ".pt": TorchShards(folder / "pt", activations),
        "zarr-python": ZarrPython(cache),
    }
    try:
        stores["tensorstore"] = TensorStore(cache, _threads())
    except ModuleNotFoundError:
        return stores, {"left_out": "tensorstore: not installed, pip install -e '.[benchmarks]'"}
    return stores, {}


def _refuse_different_batches(epochs: dict[str, Epoch]) -> None:
    """Make sure that all candidates do the same work."""
    expected = epochs["stream"].first()
    for name, epoch in epochs.items():
        if not all(map(torch.equal, epoch.first(), expected)):
            raise SystemExit(f"{name} returns another batch than the cache's stream")


def _forget(store: Store | None, folder: Path, dropped: set[str]) -> None:
    if store is not None:
        store.reopen()
    dropped.add(forget_files(folder))


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


if __name__ == "__main__":
    main()
