"""Where the activations are while they are used: on the device, in host memory, or on disk."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cache.batch import PairBatch, packed_rows
from cache.reader import ActivationCache

Placement = Literal["auto", "host", "stream", "device"]

HOST_SHARE = 0.5
"""Share of the available host memory that "auto" lets the activations take."""

DEVICE_SHARE = 0.6
"""Share of the free device memory that "auto" lets the activations take."""


class ResidentPairs:
    """All pairs of a cache in memory, in the storage dtype, text packed without gaps.

    The whole cache is read once, with checksums; batches are then gathered where the activations lie.
    """

    def __init__(self, cache: ActivationCache, device: torch.device) -> None:
        """Read `cache` into the memory of `device`, pinned if that is the host and a GPU is there.

        Raises:
            CacheCorruptError: a shard file is missing, truncated, or fails a checksum; names array and shard.
        """
        images, pair_images = np.unique(cache.pair_images, return_inverse=True)
        captions, pair_captions = np.unique(cache.pair_captions, return_inverse=True)
        lengths = torch.from_numpy(cache.caption_lengths[captions])
        rows, offsets = packed_rows(torch.from_numpy(cache.caption_starts[captions]), lengths)

        def load(name: str, selection: Int[np.ndarray, "row"]) -> Tensor:
            tensor = torch.from_numpy(cache.read_rows(name, selection))
            return (
                tensor.pin_memory()
                if device.type == "cpu" and torch.cuda.is_available()
                else tensor.to(device)
            )

        self._vision_tokens: Float[Tensor, "image patch channel"] = load("vision/tokens", images)
        self._vision_pooled: Float[Tensor, "image embedding"] = load("vision/pooled", images)
        self._text_tokens: Float[Tensor, "token channel"] = load("text/tokens", rows.numpy())
        self._token_ids: Int[Tensor, "token"] = load("text/token_ids", rows.numpy())
        self._text_pooled: Float[Tensor, "caption embedding"] = load("text/pooled", captions)
        self._pair_images = torch.from_numpy(pair_images).to(device)
        self._pair_captions = torch.from_numpy(pair_captions).to(device)
        self._starts = offsets[:-1].to(device)
        self._lengths = lengths.to(device)

    def read_pairs(self, pair_indices: Int[np.ndarray, "pair"]) -> PairBatch:
        """Gather pairs in the given order, float32, on the device where the activations lie."""
        pairs = torch.from_numpy(pair_indices).to(self._starts.device)
        images, captions = self._pair_images[pairs], self._pair_captions[pairs]
        rows, offsets = packed_rows(self._starts[captions], self._lengths[captions])
        return PairBatch(
            pair=pairs,
            vision_tokens=self._vision_tokens[images].float(),
            text_tokens=self._text_tokens[rows].float(),
            text_offsets=offsets,
            token_ids=self._token_ids[rows],
            vision_pooled=self._vision_pooled[images].float(),
            text_pooled=self._text_pooled[captions].float(),
        )


def resident_bytes(cache: ActivationCache) -> int:
    """Bytes that `ResidentPairs` of `cache` takes."""
    manifest = cache.manifest
    width = np.dtype(manifest.storage_dtype).itemsize
    vision = manifest.images * (manifest.patches * manifest.vision_channels + manifest.embedding) * width
    text = cache.text_tokens * (manifest.text_channels * width + 8)
    return vision + text + manifest.captions * (manifest.embedding * width + 16) + cache.pairs * 16


def choose_placement(cache: ActivationCache, device: torch.device) -> Placement:
    """What "auto" means: the device if the activations fit it, else host memory if they fit, else the disk."""
    needed = resident_bytes(cache)
    if device.type == "cuda" and needed <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "host" if needed <= HOST_SHARE * available_host_bytes() else "stream"


def available_host_bytes() -> int:
    """Host memory that this process can still take: what the system has, within its control group's limit."""
    try:
        available = _named_number(Path("/proc/meminfo"), "MemAvailable:") * 1024
    except OSError:  # not Linux: half of the physical memory is a guess on the safe side
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        reclaimable = _named_number(group / "memory.stat", "inactive_file")
    except (OSError, ValueError):  # no control group, or "max": no limit
        return available
    return min(available, max(0, limit - used + reclaimable))


def _named_number(path: Path, name: str) -> int:
    """The number that follows `name` at the beginning of a line of `path`."""
    fields = (line.split() for line in path.read_text().splitlines())
    return next(int(line[1]) for line in fields if line[0] == name)
