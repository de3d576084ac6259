"""Shuffled training batches from a cache."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

import numpy as np
import torch
from jaxtyping import Int

from cache.batch import PairBatch
from cache.errors import CacheError
from cache.loading.order import epoch_order
from cache.loading.placement import (
    Placement,
    choose_placement,
    prefetch_depth,
    refuse_too_little,
    taken_host_bytes,
)
from cache.loading.resident import ResidentPairs
from cache.reading.buffers import RecycledBuffers, pinned
from cache.reading.prefetch import prefetched
from cache.reading.reader import ActivationCache


class PairLoader:
    """Batches of `batch_pairs` pairs, shuffled anew in every epoch.

    The order is a pure function of (seed, epoch, step), whatever the placement, the number of threads and that of
    ranks, and can be entered at any step: see `batch_indices`. Every epoch is a permutation of single pairs, each as
    likely as any other: its `mixing` is 1 on average. The last, partial batch of an epoch is dropped.

    Attributes:
        steps_per_epoch: batches of one epoch.
        placement: "host", "stream" or "device"; what "auto" came to.
        host_bytes: most bytes of host memory that the loader takes, see `taken_host_bytes`. For "stream" that is four
            batches in float32 with captions as long as the longest, 128 bytes for each row of samples, and 1 MB, or
            one image, for each thread and array: a whole shard is never in memory, and neither are all texts.
    """

    def __init__(
        self,
        cache: ActivationCache,
        batch_pairs: int,
        seed: int,
        placement: Placement = "auto",
        device: torch.device | str = "cpu",
        rank: int = 0,
        ranks: int = 1,
        host_bytes: int | None = None,
    ) -> None:
        """Place the activations.

        Args:
            cache: where the pairs come from.
            batch_pairs: pairs of one batch, of all ranks together.
            seed: of the shuffling, not negative.
            placement: "device" keeps all activations on `device`, "host" in host memory, "stream" reads every
                batch from disk before its use; "auto" takes the first of these that fits, see
                `choose_placement`.
            device: where the batches are wanted.
            rank: which part of each batch to draw; the parts of all ranks, in their order, are the batch.
            ranks: how many equal parts there are, one for each process that trains.
            host_bytes: host memory that the loader may take; "stream" prefetches fewer batches to keep to it. By
                default what prefetching takes, and half of the available memory for activations.

        Raises:
            CacheError: the cache has fewer pairs than one batch, the batch has no equal parts, the placement does not
                exist, or it takes more than `host_bytes`.
            CacheCorruptError: placing the activations found a shard that is missing or fails a checksum.
            CacheAccessError: a file cannot be read.
        """
        if not 1 <= batch_pairs <= cache.pairs:
            raise CacheError(
                f"{cache}: cannot draw batches of {batch_pairs} pairs from {cache.pairs}; choose batch_pairs from 1 to "
                f"{cache.pairs}"
            )
        if not 0 <= rank < ranks or batch_pairs % ranks:
            raise CacheError(
                f"{cache}: rank {rank} of {ranks} has no equal part of a batch of {batch_pairs} pairs; "
                f"use a multiple of {ranks} and ranks from 0"
            )
        if placement not in get_args(Placement):
            raise CacheError(f"placement is {placement!r}; use one of {', '.join(get_args(Placement))}")
        self.steps_per_epoch = cache.pairs // batch_pairs
        self._cache = cache
        self._batch_pairs = batch_pairs
        self._part = slice(rank * batch_pairs // ranks, (rank + 1) * batch_pairs // ranks)
        self._seed = seed
        self._device = torch.device(device)
        self.placement = (
            choose_placement(cache, self._device, host_bytes) if placement == "auto" else placement
        )
        streams = self.placement == "stream"
        self._prefetch = prefetch_depth(cache, batch_pairs // ranks, host_bytes) if streams else 0
        self.host_bytes = taken_host_bytes(cache, batch_pairs // ranks, self.placement, self._prefetch)
        refuse_too_little(self.host_bytes, host_bytes, self.placement, cache)
        self._read = self._reader()

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[PairBatch]:
        """The batches of `epoch` from `first_step` on, float32, on the device; of each this rank's part.

        Raises:
            CacheCorruptError: while streaming, a shard is missing or fails a checksum; names array, shard and pairs.
            CacheAccessError: while streaming, a file cannot be read.
        """
        order = epoch_order(self._cache.pairs, self._seed, epoch)
        parts = (
            order[step * self._batch_pairs : (step + 1) * self._batch_pairs][self._part]
            for step in range(first_step, self.steps_per_epoch)
        )
        if self.placement == "stream":
            return map(self._to_device, prefetched(self._read, parts, self._prefetch))
        return map(self._read, parts)

    def _reader(self) -> Callable[[Int[np.ndarray, "pair"]], PairBatch]:
        if self.placement == "stream":
            allocate = pinned if self._device.type == "cuda" else RecycledBuffers()
            return partial(self._cache.read_pairs, allocate=allocate)
        home = self._device if self.placement == "device" else torch.device("cpu")
        return ResidentPairs(self._cache, home, self._device).read_pairs

    def _to_device(self, batch: PairBatch) -> PairBatch:
        return PairBatch(*(tensor.to(self._device, non_blocking=True) for tensor in batch))
