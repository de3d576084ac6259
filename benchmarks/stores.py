"""Other ways to keep the same activations on disk, each read as its own documentation advises for random rows.

Each store gives rows by array and number; `read_pairs` makes of them the batch that a `PairLoader` gives.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import zarr
from jaxtyping import Int
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.synthetic import SyntheticActivations
from cache import ActivationCache, PairBatch

CACHE_ARRAYS = {
    "vision_tokens": "vision/tokens",
    "vision_pooled": "vision/pooled",
    "text_tokens": "text/tokens",
    "token_ids": "text/token_ids",
    "text_pooled": "text/pooled",
}
"""What the arrays of `SyntheticActivations` are called in a cache."""


class Store(Protocol):
    """Rows of the arrays of `SyntheticActivations`.

    Attributes:
        starts: int64 [pair], the row of "text_tokens" where each caption begins.
        threads: threads that read.
    """

    starts: NDArray[np.int64]
    threads: int

    def reopen(self) -> None:
        """Close the files and open them anew: pages that are mapped do not leave the page cache."""
        ...

    def rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Tensor:
        """Rows of the array `name`, in the given order and as stored."""
        ...


def read_pairs(store: Store, lengths: Int[np.ndarray, "pair"], pairs: Int[np.ndarray, "pair"]) -> PairBatch:
    """The batch of the given pairs, float32; `lengths` are the tokens of every caption."""
    pieces = [np.arange(store.starts[pair], store.starts[pair] + lengths[pair]) for pair in pairs]
    tokens = np.concatenate(pieces)
    return PairBatch(
        pair=torch.from_numpy(pairs.copy()),
        vision_tokens=store.rows("vision_tokens", pairs).float(),
        text_tokens=store.rows("text_tokens", tokens).float(),
        text_offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths[pairs])])),
        token_ids=store.rows("token_ids", tokens),
        vision_pooled=store.rows("vision_pooled", pairs).float(),
        text_pooled=store.rows("text_pooled", pairs).float(),
    )


class MemoryMap:
    """One `.npy` file for each array, memory-mapped."""

    threads = 1

    def __init__(self, folder: Path, activations: SyntheticActivations) -> None:
        folder.mkdir()
        for name, array in activations.arrays.items():
            np.save(folder / f"{name}.npy", array)
        self.starts = activations.starts[:-1]
        self._folder, self._names = folder, tuple(activations.arrays)
        self.reopen()

    def reopen(self) -> None:
        """As in `Store`."""
        self._arrays = {name: np.load(self._folder / f"{name}.npy", mmap_mode="r") for name in self._names}

    def rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Tensor:
        """As in `Store`."""
        return torch.from_numpy(self._arrays[name][rows])


class SafetensorsShards:
    """One safetensors file for each shard, read slice by slice."""

    threads = 1

    def __init__(self, folder: Path, activations: SyntheticActivations) -> None:
        folder.mkdir()
        self._files = []
        for shard, arrays in enumerate(activations.shards()):
            self._files.append(folder / f"{shard:05d}.safetensors")
            save_file(
                {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()},
                self._files[-1],
            )
        self.starts = activations.starts[:-1]
        self._first = _first_rows(activations)
        self.reopen()

    def reopen(self) -> None:
        """As in `Store`."""
        self._shards = [safe_open(file, framework="pt") for file in self._files]

    def rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Tensor:
        """As in `Store`."""
        first = self._first[name]
        pieces = []
        for start, stop in _runs(rows, first):
            shard = int(np.searchsorted(first, start, side="right")) - 1
            piece = self._shards[shard].get_slice(name)
            pieces.append(piece[int(start - first[shard]) : int(stop - first[shard])])
        return torch.cat(pieces)


class TorchShards:
    """One `.pt` file for each shard, memory-mapped.

    A rival's format: this repository itself never writes or reads pickles.
    """

    threads = 1

    def __init__(self, folder: Path, activations: SyntheticActivations) -> None:
        folder.mkdir()
        self._files = []
        for shard, arrays in enumerate(activations.shards()):
            self._files.append(folder / f"{shard:05d}.pt")
            # A copy, because torch.save writes the whole storage behind a view.
            torch.save(
                {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, self._files[-1]
            )
        self.starts = activations.starts[:-1]
        self._first = _first_rows(activations)
        self.reopen()

    def reopen(self) -> None:
        """As in `Store`."""
        self._shards = [torch.load(file, mmap=True, weights_only=True) for file in self._files]

    def rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Tensor:
        """As in `Store`."""
        first = self._first[name]
        shards = np.searchsorted(first, rows, side="right") - 1
        whole = self._shards[0][name]
        result = torch.empty((len(rows), *whole.shape[1:]), dtype=whole.dtype)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            result[here] = self._shards[shard][name][rows[here] - first[shard]]
        return result


class ZarrPython:
    """The cache itself, read by zarr-python without any of our code."""

    threads = 1

    def __init__(self, cache: ActivationCache) -> None:
        self.starts = cache.caption_starts
        self._path = cache.path
        self.reopen()

    def reopen(self) -> None:
        """As in `Store`."""
        self._arrays = {
            name: zarr.open_array(self._path / path, mode="r") for name, path in CACHE_ARRAYS.items()
        }

    def rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Tensor:
        """As in `Store`; a slice for each run of rows, since index arrays are far slower still."""
        array = self._arrays[name]
        return torch.from_numpy(np.concatenate([array[start:stop] for start, stop in _runs(rows)]))


class TensorStore:
    """The cache itself, read by tensorstore, checksums included.

    Raises:
        ModuleNotFoundError: tensorstore is not installed.
    """

    def __init__(self, cache: ActivationCache, threads: int) -> None:
        import tensorstore  # noqa: PLC0415 - an extra

        self.threads = threads
        self.starts = cache.caption_starts
        self._path, self._tensorstore = cache.path, tensorstore
        self.reopen()

    def reopen(self) -> None:
        """As in `Store`."""
        limit = {"limit": self.threads}
        context = self._tensorstore.Context({"data_copy_concurrency": limit, "file_io_concurrency": limit})
        self._arrays = {name: self._open(path, context) for name, path in CACHE_ARRAYS.items()}

    def rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Tensor:
        """As in `Store`."""
        return torch.from_numpy(self._arrays[name][rows].read().result())

    def _open(self, path: str, context: Any) -> Any:
        files = {"driver": "file", "path": str(self._path / path)}
        return self._tensorstore.open(
            {"driver": "zarr3", "kvstore": files}, context=context, read=True
        ).result()


def _first_rows(activations: SyntheticActivations) -> dict[str, NDArray[np.int64]]:
    """For each array the number of the first row in every shard."""
    shards = [{name: len(array) for name, array in arrays.items()} for arrays in activations.shards()]
    return {
        name: np.concatenate([[0], np.cumsum([shard[name] for shard in shards])[:-1]])
        for name in activations.arrays
    }


def _runs(rows: NDArray[np.int64], first_rows: NDArray[np.int64] | None = None) -> Iterator[tuple[int, int]]:
    """Start and stop of consecutive rows, in order; no run crosses one of `first_rows`."""
    breaks = np.diff(rows) != 1
    if first_rows is not None:
        breaks |= np.isin(rows[1:], first_rows)
    for run in np.split(rows, np.flatnonzero(breaks) + 1):
        yield int(run[0]), int(run[-1]) + 1
