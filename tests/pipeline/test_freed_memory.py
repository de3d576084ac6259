"""Layers on a CPU get the memory that the last ones freed, once training has asked for it."""

import subprocess
import sys

import pytest

from pipeline.freed_memory import keep_freed_memory

LAYERS = """
import resource
from pathlib import Path

import torch

from pipeline.freed_memory import keep_freed_memory
from pipeline.sae.lucid import LucidOptions, LucidSAE
from pipeline.training import Trainee, TrainOptions


def page_faults():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    tokens = torch.ones(64 * 196, 128)
    for _ in range(4):
        tokens = torch.nn.functional.gelu(tokens @ torch.zeros(128, 512)) @ torch.zeros(512, 128)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


print(min(page_faults() for _ in range(8)))
{keep}
print(min(page_faults() for _ in range(8)))
"""

TRAINEE = """
sae = LucidSAE(LucidOptions(latents=16, k_shared=2, k_private=2), 4, 4)
Trainee(sae, TrainOptions(), Path("checkpoint.safetensors"), "identity", print)
"""


@pytest.mark.parametrize("keep", ["keep_freed_memory()", TRAINEE], ids=["asked", "by training"])
def test_layers_get_the_memory_that_the_last_ones_freed(keep):
    if not keep_freed_memory():
        pytest.skip("this system's malloc cannot be told to keep memory")
    # In a process of its own, as malloc cannot be made to forget what other tests asked of it.
    process = subprocess.run(
        [sys.executable, "-c", LAYERS.format(keep=keep)], capture_output=True, text=True, check=True
    )
    by_default, kept = map(int, process.stdout.split())
    assert by_default > 1000
    assert kept < 100
