"""A cache as a data set of torch, for programs that have a training loop of their own."""

import copy
import os
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from cache.batch import PairBatch
from cache.reading.reader import ActivationCache


class CachedPairs(Dataset[PairBatch]):
    """The pairs of a cache by number: an item is a batch of one pair, several numbers are read together as one batch.

    A process of a data loader opens the cache anew, with files and threads of its own.
    """

    def __init__(self, cache: ActivationCache) -> None:
        """Show the pairs of an open cache."""
        self._cache = cache
        self._process = os.getpid()

    def __len__(self) -> int:
        return self._cache.pairs

    def __getitem__(self, pair: int) -> PairBatch:
        return self.__getitems__([pair])

    def __getitems__(self, pairs: Sequence[int]) -> PairBatch:
        """Read several pairs in the given order, as `ActivationCache.read_pairs` does; torch asks for a batch so."""
        if self._process != os.getpid():
            self._cache, self._process = copy.copy(self._cache), os.getpid()
        return self._cache.read_pairs(pairs)


def data_loader(
    cache: ActivationCache, batch_pairs: int, *, shuffle: bool = True, seed: int = 0, workers: int = 0
) -> DataLoader[PairBatch]:
    """Draw the pairs of a cache through torch's own data loader; the last batch may be smaller.

    `PairLoader` is faster and its order can be entered at any step; this is for code that expects a data loader.

    Args:
        cache: where the pairs come from.
        batch_pairs: pairs of a batch.
        shuffle: in an order that `seed` decides, another one in every epoch.
        seed: of the shuffling.
        workers: processes that read; 0 reads in this one, where the cache has threads for it.
    """
    return DataLoader(
        CachedPairs(cache),
        batch_size=batch_pairs,
        shuffle=shuffle,
        num_workers=workers,
        collate_fn=_as_read,
        generator=torch.Generator().manual_seed(seed),
    )


def _as_read(batch: Any) -> PairBatch:
    """Hand on the batch: it is read as one, so that nothing is left to collate."""
    return cast(PairBatch, batch)
