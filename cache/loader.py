"""Shuffled training batches from a cache."""

from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
import torch
from jaxtyping import Int

from cache.batch import PairBatch
from cache.errors import CacheError
from cache.order import epoch_order
from cache.placement import Placement, ResidentPairs, choose_placement
from cache.prefetch import prefetched
from cache.reader import ActivationCache

READ_AHEAD_BATCHES = 2
"""Batches that "stream" reads before they are asked for: with the one in use, three are in memory."""


class PairLoader:
    """Batches of `batch_pairs` pairs, shuffled anew in every epoch.

    The order is a pure function of (seed, epoch, step), whatever the placement, and can be entered at any step.
    The last, partial batch of an epoch is dropped.

    Attributes:
        steps_per_epoch: batches of one epoch.
        placement: "host", "stream" or "device"; what "auto" came to.
    """

    def __init__(
        self,
        cache: ActivationCache,
        batch_pairs: int,
        seed: int,
        placement: Placement = "auto",
        device: torch.device | str = "cpu",
    ) -> None:
        """Place the activations.

        Args:
            cache: where the pairs come from.
            batch_pairs: pairs of one batch.
            seed: of the shuffling, not negative.
            placement: "device" keeps all activations on `device`, "host" in host memory, "stream" reads every
                batch from disk ahead of its use; "auto" takes the first of these that fits, see
                `choose_placement`.
            device: where the batches are wanted.

        Raises:
            CacheError: the cache has fewer pairs than one batch, or the placement does not exist.
            CacheCorruptError: placing the activations found a shard that is missing or fails a checksum.
        """
        if not 1 <= batch_pairs <= cache.pairs:
            raise CacheError(f"{cache.path}: cannot draw batches of {batch_pairs} pairs from {cache.pairs}")
        if placement not in get_args(Placement):
            raise CacheError(f"placement is {placement!r}; use one of {', '.join(get_args(Placement))}")
        self.steps_per_epoch = cache.pairs // batch_pairs
        self._cache = cache
        self._batch_pairs = batch_pairs
        self._seed = seed
        self._device = torch.device(device)
        self.placement = choose_placement(cache, self._device) if placement == "auto" else placement
        self._read = self._reader()

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[PairBatch]:
        """The batches of `epoch` from `first_step` on, float32, on the device.

        Raises:
            CacheCorruptError: while streaming, a shard is missing or fails a checksum; names array and shard.
        """
        order = epoch_order(self._cache.pairs, self._seed, epoch)
        parts = (
            order[step * self._batch_pairs : (step + 1) * self._batch_pairs]
            for step in range(first_step, self.steps_per_epoch)
        )
        if self.placement == "stream":
            return map(self._to_device, prefetched(self._read, parts, READ_AHEAD_BATCHES))
        return (self._to_device(self._read(part)) for part in parts)

    def _reader(self) -> Callable[[Int[np.ndarray, "pair"]], PairBatch]:
        if self.placement == "stream":
            return self._cache.read_pairs
        home = self._device if self.placement == "device" else torch.device("cpu")
        return ResidentPairs(self._cache, home).read_pairs

    def _to_device(self, batch: PairBatch) -> PairBatch:
        return PairBatch(*(tensor.to(self._device, non_blocking=True) for tensor in batch))
