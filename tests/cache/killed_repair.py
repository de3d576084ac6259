"""Damages the example cache and repairs it many times over, in processes that are killed in between.

Usage: killed_repair.py FOLDER RUNS. Makes FOLDER/whole.zarr, then FOLDER/RUN.zarr for every run: what is damaged
there differs from run to run; its repair is killed with SIGKILL at two moments, the first of which walks through all
the work, before it may finish. Prints, as JSON, how many repairs were killed.
"""

import json
import random
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
from example_cache import Example
from killing import Calls, in_child

from cache import CacheWriter
from cache.operations import locked, repair_records, verify

DAMAGES = [
    ("ledger.parquet", "vision/tokens/c.1.0.0"),
    ("zarr.json", "text/tokens/c.2.0"),
    ("samples.parquet",),
    ("ledger.parquet", "statistics/vision/mean/c.0"),
    ("text/pooled/c.0.0", "vision/pooled/c.2.0"),
]
"""Files that are damaged together."""


def repair(path: Path) -> None:
    """What `concord cache repair` does."""
    example = Example()
    with locked(path) as lock:
        found = verify(path)
        if found.sound:
            return
        lost = repair_records(path, found, lambda: example.manifest)
        with CacheWriter.reopen(path, lost, lock) as writer:
            example.write_into(writer).close()


def damage(path: Path, names: tuple[str, ...], rng: random.Random) -> None:
    """Cut these files off anywhere, or delete them."""
    for name in names:
        content = (path / name).read_bytes()
        (path / name).unlink()
        if rng.random() < 0.5:
            (path / name).write_bytes(content[: rng.randrange(len(content))])


def killed(path: Path, moment: int) -> bool:
    """Whether the repair was killed, rather than done, at a moment."""

    def killed_repair() -> None:
        with Calls(moment):
            repair(path)

    return in_child(killed_repair) == -signal.SIGKILL


def main(folder: Path, runs: int) -> None:
    """See the module."""
    pa.Table.from_pylist([{"a": 1}])  # imports more of Arrow before the forks

    def whole() -> None:
        Example().write(folder / "whole.zarr").close()
        shutil.copytree(folder / "whole.zarr", folder / "counted.zarr")
        damage(folder / "counted.zarr", DAMAGES[0], random.Random(0))
        with Calls() as calls:
            repair(folder / "counted.zarr")
        (folder / "calls").write_text(str(calls.made))

    assert in_child(whole) == 0
    calls = int((folder / "calls").read_text())
    kills = 0
    for run in range(runs):
        rng = random.Random(run)
        path = folder / f"{run}.zarr"
        shutil.copytree(folder / "whole.zarr", path)
        damage(path, DAMAGES[run % len(DAMAGES)], rng)
        kills += killed(path, round((run + rng.random()) / runs * calls) + 1)
        kills += killed(path, rng.randrange(1, calls))
        assert in_child(lambda path=path: repair(path)) == 0
    print(json.dumps({"kills": kills}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
