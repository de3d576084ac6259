"""Working on a whole cache takes the memory of a few shards, however many it has."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("measure_memory.py")


def test_a_cache_of_ten_shards_is_worked_on_in_the_memory_of_seven(tmp_path):
    # Freed memory goes back to the system at once, so that it is not counted.
    returned = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    root = SCRIPT.parents[3]
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    environment = {**os.environ, **returned, "PYTHONPATH": str(root)}
    measured = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert measured["verify"] < 2, measured
    assert max(measured.values()) < 7, measured
