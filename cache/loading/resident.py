"""All pairs of a cache in the memory of a device or of the host."""

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy.typing import NDArray
from torch import Tensor

from cache.batch import PairBatch, packed_rows
from cache.format.layout import sharded_layouts
from cache.format.storage import POOLED_DTYPE, TOKEN_DTYPE, StoredRows, as_tensor
from cache.reading.buffers import RecycledBuffers
from cache.reading.reader import ActivationCache

STAGED_BYTES = 64 << 20
"""What is in host memory at a time on its way to a device."""


class ResidentPairs:
    """All pairs of a cache in memory, in the storage dtype, text packed without gaps.

    The whole cache is read once, with checksums; batches are then gathered and decoded where the activations lie.
    """

    def __init__(self, cache: ActivationCache, home: torch.device, device: torch.device) -> None:
        """Read `cache` into the memory of `home`, pinned if that is the host and a GPU is there.

        Args:
            cache: where the pairs come from.
            home: where the activations lie.
            device: where batches are wanted; they travel there as stored, and are decoded there.

        Raises:
            CacheCorruptError: a shard file is missing, truncated, or fails a checksum; names array and shard.
            CacheAccessError: a file cannot be read.
        """
        images, pair_images = np.unique(cache.pair_images, return_inverse=True)
        captions, pair_captions = np.unique(cache.pair_captions, return_inverse=True)
        lengths = torch.from_numpy(cache.caption_lengths[captions])
        rows, offsets = packed_rows(torch.from_numpy(cache.caption_starts[captions]), lengths)
        tokens = rows.numpy()
        self._vision_tokens = _activations(cache, "vision/tokens", images, home)
        self._vision_pooled = _activations(cache, "vision/pooled", images, home)
        self._text_tokens = _activations(cache, "text/tokens", tokens, home)
        self._text_pooled = _activations(cache, "text/pooled", captions, home)
        self._token_ids = _values(cache, "text/token_ids", tokens, home)
        self._pair_images = torch.from_numpy(pair_images).to(home)
        self._pair_captions = torch.from_numpy(pair_captions).to(home)
        self._starts = offsets[:-1].to(home)
        self._lengths = lengths.to(home)
        self._pair_tokens = cache.caption_lengths[captions][pair_captions]
        self._device = device
        self._allocate = RecycledBuffers()

    def read_pairs(self, pair_indices: Int[np.ndarray, "pair"]) -> PairBatch:
        """Gather pairs in the given order, float32, on the device where batches are wanted."""
        pairs = torch.from_numpy(pair_indices).to(self._starts.device)
        images, captions = self._pair_images[pairs], self._pair_captions[pairs]
        tokens = int(self._pair_tokens[pair_indices].sum())
        rows, offsets = packed_rows(self._starts[captions], self._lengths[captions], tokens)
        return PairBatch(
            pair=self._sent(pairs),
            vision_tokens=self._gathered(self._vision_tokens, images),
            text_tokens=self._gathered(self._text_tokens, rows),
            text_offsets=self._sent(offsets),
            token_ids=self._sent(self._token_ids[rows]),
            vision_pooled=self._gathered(self._vision_pooled, images),
            text_pooled=self._gathered(self._text_pooled, captions),
        )

    def _gathered(self, stored: StoredRows, rows: Int[Tensor, "row"]) -> Float32[Tensor, "row ..."]:
        if stored.calibration is not None or self._device.type != "cpu":
            return stored.take(rows).placed(self._sent).decoded()
        shape, dtype = (len(rows), *stored.values.shape[1:]), stored.values.dtype
        values = torch.index_select(stored.values, 0, rows, out=self._allocate(shape, dtype))
        return values if dtype == torch.float32 else self._allocate(shape, torch.float32).copy_(values)

    def _sent(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)


def resident_bytes(cache: ActivationCache) -> int:
    """Bytes that `ResidentPairs` of `cache` takes where the activations lie."""
    manifest = cache.manifest
    token, pooled = (table[manifest.storage_dtype].itemsize for table in (TOKEN_DTYPE, POOLED_DTYPE))
    vision = manifest.images * (
        manifest.patches * manifest.vision_channels * token + manifest.embedding * pooled
    )
    text = cache.text_tokens * (manifest.text_channels * token + 8)
    captions = manifest.captions * (manifest.embedding * pooled + 16)
    calibration = 0
    if manifest.storage_dtype == "int8":
        calibration = (
            manifest.images * (manifest.patches * 2 + 4)
            + cache.text_tokens * (2 + 4)
            + manifest.shards * (manifest.vision_channels + manifest.text_channels) * 8
        )
    return vision + text + captions + calibration + cache.pairs * 16


def _activations(
    cache: ActivationCache, name: str, rows: NDArray[np.int64], device: torch.device
) -> StoredRows:
    calibration = cache.calibration(name, rows)
    placed = StoredRows(torch.empty(0), calibration).placed(lambda tensor: tensor.to(device)).calibration
    return StoredRows(_values(cache, name, rows, device), placed)


def _values(cache: ActivationCache, name: str, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Rows of an array as stored, in the memory of `device`: read straight into the host's, else piece by piece."""
    layout = sharded_layouts(cache.manifest)[name]
    dtype = as_tensor(np.empty(0, layout.dtype)).dtype
    on_host = device.type == "cpu"
    shape = (len(rows), *layout.row_shape)
    values = torch.empty(shape, dtype=dtype, device=device, pin_memory=on_host and torch.cuda.is_available())
    if on_host:
        cache.read_rows(name, rows, values.view(torch.uint8).numpy().view(layout.dtype))
        return values
    size = max(1, STAGED_BYTES // layout.row_bytes)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        values[part] = as_tensor(cache.read_rows(name, rows[part])).to(device)
    return values
