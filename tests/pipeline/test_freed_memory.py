"""A tensor on a CPU gets the memory that the last one freed, once training has asked for it."""

import subprocess
import sys

import pytest

from pipeline.freed_memory import keep_freed_memory

TENSORS = """
import resource
from pathlib import Path

import torch

from pipeline.freed_memory import keep_freed_memory
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.training.loop import Trainee
from pipeline.training.options import TrainOptions


def page_faults():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


torch.set_num_threads(1)
print(min(page_faults() for _ in range(4)))
{keep}
print(min(page_faults() for _ in range(4)))
"""
# 64 MiB: more than the 32 that glibc's malloc may come to serve from its heap by itself, so that without being asked it
# gets them from the system every time, wherever the heap ends.

TRAINEE = """
sae = LucidSAE(LucidOptions(latents=16, k_shared=2, k_private=2), 4, 4)
Trainee(sae, TrainOptions(), Path("checkpoint.safetensors"), {}, print)
"""


@pytest.mark.parametrize("keep", ["keep_freed_memory()", TRAINEE], ids=["asked", "by training"])
def test_a_tensor_gets_the_memory_that_the_last_one_freed(keep):
    if not keep_freed_memory():
        pytest.skip("this system's malloc cannot be told to keep memory")
    # In a process of its own, as malloc cannot be made to forget what other tests asked of it.
    process = subprocess.run(
        [sys.executable, "-c", TENSORS.format(keep=keep)], capture_output=True, text=True, check=True
    )
    by_default, kept = map(int, process.stdout.split())
    assert by_default >= 16  # half as many as a tensor has large pages, should the system hand out those
    assert kept < 8
