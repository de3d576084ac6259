"""How much host memory there is, and how much of it reading a cache takes."""

import os
import resource
from pathlib import Path

from cache.loading.control_groups import MEMBERSHIP, MOUNT, memory_left
from cache.reading.reader import ActivationCache

_SAMPLE_BYTES = 128
"""What is known of a row of samples while reading: where its pair is, its place in the epoch, and the way there."""

_PAIR_BYTES = 2048
"""What is known of a pair while its batch is read: its rows of each array, and the spans they are read in."""


def batch_bytes(cache: ActivationCache, batch_pairs: int) -> int:
    """Most bytes of one batch, float32; less if its captions are shorter than the longest of the cache."""
    manifest = cache.manifest
    longest = int(cache.caption_lengths.max())
    vision = manifest.patches * manifest.vision_channels + manifest.embedding
    text = (
        longest * (manifest.text_channels + 12) + manifest.embedding
    )  # 12: ids and row numbers of the tokens
    return batch_pairs * (4 * (vision + text) + _PAIR_BYTES)


def reading_bytes(cache: ActivationCache) -> int:
    """Most bytes that reading takes besides the batches: positions of pairs and captions, and buffers of threads."""
    positions = _SAMPLE_BYTES * (cache.pairs + cache.skipped) + 16 * len(cache.caption_lengths)
    return positions + cache.scratch_bytes


def available_host_bytes() -> int:
    """Host memory that this process can still take: what the system has, within every limit that is set for it.

    Limits are those of its control groups, of whatever depth and version, and of its address space (`ulimit -v`).
    """
    try:
        available = _named_number(Path("/proc/meminfo"), "MemAvailable:") * 1024
    except OSError:  # not Linux: half of the physical memory is a guess on the safe side
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    limits = [_left_by_control_groups(), _left_of_address_space()]
    return min([available, *(limit for limit in limits if limit is not None)])


def _left_by_control_groups() -> int | None:
    try:
        return memory_left(MOUNT, MEMBERSHIP.read_text(encoding="utf-8"))
    except OSError:  # not Linux
        return None


def _left_of_address_space() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = _named_number(Path("/proc/self/status"), "VmSize:") * 1024
    except OSError:  # not Linux
        used = 0
    return max(0, limit - used)


def _named_number(path: Path, name: str) -> int:
    """The number that follows `name` at the beginning of a line of `path`."""
    fields = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return next(int(line[1]) for line in fields if line and line[0] == name)
