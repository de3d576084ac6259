"""Read rows of a cache's arrays with zarr-python, in whatever Python runs this file: it imports zarr and numpy only.

`python benchmarks/zarr_worker.py CACHE PIPELINE WAY` reads requests, one on a line: a JSON list of the name of an
array and the numbers of its rows. It answers each with the seconds that reading them took. Its first line of output
is the version of zarr-python.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import zarr


def read(array: Any, rows: np.ndarray, way: str) -> np.ndarray:
    """Read rows in their order: with one call of `oindex`, or with a slice for each run of rows."""
    if way == "oindex":
        return np.asarray(array.oindex[rows])
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return np.concatenate([array[run[0] : run[-1] + 1] for run in runs])


def main() -> None:
    """Answer until the input ends."""
    path, pipeline, way = sys.argv[1:]
    if pipeline != "default":
        zarr.config.set({"codec_pipeline.path": f"zarr.core.codec_pipeline.{pipeline}"})
    group = zarr.open_group(path, mode="r")
    print(zarr.__version__, flush=True)
    arrays: dict[str, Any] = {}
    for line in sys.stdin:
        name, numbers = json.loads(line)
        array = arrays.setdefault(name, group[name])
        rows = np.array(numbers)
        started = time.perf_counter()
        read(array, rows, way)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
