"""Where the activations are while they are used: on the device, in host memory, or on disk."""

from typing import Literal

import torch
from rich.filesize import decimal

from cache.errors import CacheError
from cache.loading.host_memory import available_host_bytes, batch_bytes, reading_bytes
from cache.loading.resident import STAGED_BYTES, resident_bytes
from cache.reading.reader import ActivationCache

Placement = Literal["auto", "host", "stream", "device"]

HOST_SHARE = 0.5
"""Share of the available host memory that "auto" lets the activations take."""

DEVICE_SHARE = 0.6
"""Share of the free device memory that "auto" lets the activations take."""

PREFETCH_BATCHES = 2
"""Batches that "stream" reads before they are asked for, if there is memory for them."""


def choose_placement(
    cache: ActivationCache, device: torch.device, host_bytes: int | None = None
) -> Placement:
    """What "auto" means: the device if the activations fit it, else host memory if they fit, else the disk.

    Args:
        cache: where the activations come from.
        device: where batches are wanted.
        host_bytes: host memory that may be taken; by default `HOST_SHARE` of what is available.
    """
    needed = resident_bytes(cache)
    if device.type == "cuda" and needed <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    budget = HOST_SHARE * available_host_bytes() if host_bytes is None else host_bytes
    return "host" if needed + reading_bytes(cache) <= budget else "stream"


def prefetch_depth(cache: ActivationCache, batch_pairs: int, host_bytes: int | None) -> int:
    """How many batches "stream" prefetches: `PREFETCH_BATCHES`, or as many as `host_bytes` have room for."""
    if host_bytes is None:
        return PREFETCH_BATCHES
    batches = (host_bytes - reading_bytes(cache)) // batch_bytes(cache, batch_pairs)
    return min(PREFETCH_BATCHES, max(0, batches - 2))


def taken_host_bytes(cache: ActivationCache, batch_pairs: int, placement: Placement, prefetch: int) -> int:
    """Most bytes of host memory that drawing batches takes, on top of what the process had before.

    Reading takes `reading_bytes`. Two batches exist at a time, the one in use and the one being made, and as many more
    as `prefetch` says. "host" has all activations and a batch as stored besides; "device" pieces on their way.
    """
    batch = batch_bytes(cache, batch_pairs)
    kept = {"host": resident_bytes(cache) + batch, "device": STAGED_BYTES}.get(placement, 0)
    return reading_bytes(cache) + kept + (2 + prefetch) * batch


def refuse_too_little(needed: int, host_bytes: int | None, placement: Placement, where: object) -> None:
    """Check that a placement keeps to the host memory it was given.

    Raises:
        CacheError: naming both numbers.
    """
    if host_bytes is not None and needed > host_bytes:
        raise CacheError(
            f"{where}: placement {placement!r} takes up to {decimal(needed)} of host memory, {decimal(host_bytes)} are "
            "allowed; draw smaller batches, allow more, or stream"
        )
