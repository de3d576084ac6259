"""A command keeps the memory that its tensors free; a program that imports the library is left as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.freed_memory import keep_freed_memory

ROOT = Path(__file__).parents[2]

TENSORS = """
import resource

import torch
from typer.testing import CliRunner

from stages.cli import app


def page_faults():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


torch.set_num_threads(1)
print(min(page_faults() for _ in range(64)))
CliRunner().invoke(app, ["cache", "info", "absent.zarr"])
print(min(page_faults() for _ in range(64)))
"""
# 64 MiB: more than the 32 that glibc's malloc may come to serve from its heap by itself, so that without being asked it
# gets them from the system every time, wherever the heap ends. 64 times, as malloc first sets aside the few bytes that
# aligning a tensor leaves beside it, seven of each size, and until it has them a tensor may not fit where the last was.


def test_a_tensor_of_a_command_gets_the_memory_that_the_last_one_freed() -> None:
    if not keep_freed_memory():
        pytest.skip("this system's malloc cannot be told to keep memory")
    # In a process of its own, as malloc cannot be made to forget what other tests asked of it.
    process = subprocess.run([sys.executable, "-c", TENSORS], capture_output=True, text=True, check=True)
    by_default, kept = map(int, process.stdout.split())
    assert by_default >= 16  # half as many as a tensor has large pages, should the system hand out those
    assert kept < 8


def test_only_the_command_line_changes_the_malloc_of_a_process() -> None:
    sources = [path for layer in ("cache", "pipeline") for path in (ROOT / layer).rglob("*.py")]
    assert [path for path in sources if "mallopt" in path.read_text(encoding="utf-8")] == []
