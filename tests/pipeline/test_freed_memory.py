"""Layers on a CPU take the memory that the last ones freed, once whatever runs them has asked for it."""

import ctypes
import resource

import pytest
import torch
from torch.nn import functional as F

from pipeline.freed_memory import keep_freed_memory
from pipeline.sae.lucid import LucidOptions, LucidSAE
from pipeline.training import Trainee, TrainOptions

TOKENS, CHANNELS = 64 * 196, 128


@pytest.fixture(autouse=True)
def memory_is_given_back():
    """Whatever other tests did to this process, malloc begins as it is, and keeps what is freed afterwards."""
    if not keep_freed_memory():
        pytest.skip("this system's malloc cannot be told to keep memory")
    for option, default in ((-1, 128 << 10), (-3, 128 << 10)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        ctypes.CDLL(None).mallopt(option, default)
    yield
    keep_freed_memory()


def page_faults_of_some_layers():
    weights = [torch.zeros(CHANNELS, 4 * CHANNELS) for _ in range(4)]

    def run():
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        tokens = torch.ones(TOKENS, CHANNELS)
        for weight in weights:
            tokens = F.gelu(tokens @ weight) @ weight.T
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    return min(run() for _ in range(8))


def test_every_layer_gets_new_memory_by_default():
    assert page_faults_of_some_layers() > 1000


def test_a_forward_pass_gets_the_memory_that_the_last_one_freed():
    keep_freed_memory()
    assert page_faults_of_some_layers() < 100


def test_training_on_a_cpu_keeps_freed_memory(tmp_path):
    sae = LucidSAE(LucidOptions(latents=16, k_shared=2, k_private=2), 4, 4)
    Trainee(sae, TrainOptions(), tmp_path / "checkpoint.safetensors", "identity", lambda record: None)
    assert page_faults_of_some_layers() < 100
