"""Writes the example cache many times over, in processes that are killed in the middle.

Usage: killed_writer.py FOLDER RUNS. Writes FOLDER/whole.zarr without interruption, then FOLDER/RUN.zarr for every
run: each is killed with SIGKILL at up to three moments before it may finish. Prints the kills of each run as JSON.
A fork per process saves importing the libraries each time; nothing has started threads before it.
"""

import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

from example_cache import Example


def in_child(work) -> int:
    """Run `work` in a forked process; returns its wait status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def write(path: Path, calls: int | None, count_file: Path | None = None) -> None:
    """Write the cache, killing this process at its `calls`-th call into the operating system."""
    made = 0

    def count(_frame, event, function) -> None:
        nonlocal made
        if event in {"c_call", "c_return"} and getattr(function, "__module__", None) == "posix":
            made += 1
            if made == calls:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    sys.setprofile(count)
    Example().write(path)
    sys.setprofile(None)
    if count_file:
        count_file.write_text(str(made))


def main(folder: Path, runs: int) -> None:
    """See the module."""
    status = in_child(lambda: write(folder / "whole.zarr", None, folder / "calls"))
    assert status == 0
    calls = int((folder / "calls").read_text())
    kills = []
    for run in range(runs):
        moments = random.Random(run)
        path = folder / f"{run}.zarr"
        killed = 0
        for _ in range(1 + run % 3):
            moment = moments.randrange(1, calls)
            killed += os.WIFSIGNALED(in_child(lambda path=path, moment=moment: write(path, moment)))
        assert in_child(lambda path=path: write(path, None)) == 0
        kills.append(killed)
    print(json.dumps(kills))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
