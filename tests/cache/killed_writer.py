"""Writes, finishes, reopens and repairs the example cache many times over, in processes that are killed in between.

Usage: killed_writer.py FOLDER RUNS. Makes FOLDER/whole.zarr without interruption, then FOLDER/RUN.zarr for every
run: each is killed with SIGKILL at two moments, the first of which walks through all the work, before it may finish.
Prints, as JSON, what was under way at each kill, and what a second writer was told while the first was alive.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import pyarrow as pa
from example_cache import Example
from killing import Calls, in_child

from cache import CacheLockedError, CacheWriter

BAD_SHARDS = [1]


def work(path: Path, under_way: Path) -> None:
    """Bring the cache to its end from whatever state it is in, then have a shard of it written anew."""
    example = Example()

    def write(writer: CacheWriter) -> None:
        with writer:
            for shard in writer.missing_shards:
                writer.write_shard(shard, *example.shard(shard))
            under_way.write_text("finish")
            writer.finish()

    under_way.write_text("write")
    write(CacheWriter.open(path, example.manifest))
    under_way.write_text("reopen")
    write(CacheWriter.reopen(path, BAD_SHARDS))


def killed(path: Path, moment: int) -> list[str]:
    """What was under way when the work was killed at a moment; nothing if it ended before."""
    under_way = path.with_suffix(".under_way")

    def killed_work() -> None:
        with Calls(moment):
            work(path, under_way)

    return [under_way.read_text()] if in_child(killed_work) == -signal.SIGKILL else []


def second_writer_is_told(path: Path) -> dict[str, object]:
    """What opening a cache that a living process writes ends in, and which shards a killed one leaves to be written."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            writer = CacheWriter.open(path, Example().manifest)
            writer.write_shard(0, *Example().shard(0))
            os.write(tell, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(ready, 1)
    try:
        CacheWriter.open(path, Example().manifest)
        told = ""
    except CacheLockedError as error:
        told = str(error)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with CacheWriter.open(path, Example().manifest) as writer:
        return {"told": told, "first": child, "missing": writer.missing_shards}


def main(folder: Path, runs: int) -> None:
    """See the module."""
    pa.Table.from_pylist([{"a": 1}])  # imports more of Arrow before the forks

    def uninterrupted() -> None:
        with Calls() as calls:
            work(folder / "whole.zarr", folder / "whole.under_way")
        (folder / "calls").write_text(str(calls.made))

    assert in_child(uninterrupted) == 0
    calls = int((folder / "calls").read_text())
    kills = []
    for run in range(runs):
        moments = random.Random(run)
        path = folder / f"{run}.zarr"
        kills += killed(path, round((run + moments.random()) / runs * calls) + 1)
        kills += killed(path, moments.randrange(1, calls))
        assert in_child(lambda path=path: work(path, path.with_suffix(".under_way"))) == 0
    print(json.dumps({"kills": kills, "lock": second_writer_is_told(folder / "locked.zarr")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
