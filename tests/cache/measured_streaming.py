"""Draws batches from a cache far larger than they are, and tells how much memory that took.

Usage: measured_streaming.py SMALL LARGE. Opens the cache SMALL and streams it, so that all code has run once, then
draws an epoch of the cache LARGE in several ways. Prints, as JSON for each way, by how many bytes the process grew at
its peak, and the bound that was promised.
"""

import json
import sys
from pathlib import Path

from cache import ActivationCache, PairLoader
from cache.loading.host_memory import batch_bytes, reading_bytes

BATCH = 16


def resident(field: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


def growth(draw) -> int:
    """Bytes by which the process grows at its peak while `draw` runs."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    draw()
    return resident("VmHWM") - before


def drain(batches) -> None:
    """Draw every batch and keep none."""
    for _ in batches:
        pass


def main(small: str, large: str) -> None:
    """See the module."""
    with ActivationCache.open(small) as cache:
        drain(PairLoader(cache, 1, 0, "stream").batches(0))
        drain(cache.iterate(1))
    result = {}
    with ActivationCache.open(large) as cache:
        fixed, batch = reading_bytes(cache), batch_bytes(cache, BATCH)
    for name, budget in (("small budget", fixed + 2 * batch), ("default", None)):
        with ActivationCache.open(large) as cache:
            loader = PairLoader(cache, BATCH, 0, "stream", host_bytes=budget)
            result[name] = (growth(lambda loader=loader: drain(loader.batches(0))), loader.host_bytes)
    with ActivationCache.open(large) as cache:
        result["iterate"] = (growth(lambda: drain(cache.iterate(BATCH))), fixed + 3 * batch)
    with ActivationCache.open(large) as cache:
        loaders = []
        taken = growth(lambda: loaders.append(PairLoader(cache, BATCH, 0, "host")))
        result["host"] = (taken, loaders[0].host_bytes)
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
