"""`make bench-gpu` where there is no GPU; with one, `interpreted_kernels.py` runs what it times."""

import pytest
import torch

from benchmarks import gpu
from pipeline.sparse.availability import triton_reason


def test_recorded_steps_are_compared_with_single_ones() -> None:
    shape = gpu.Shape(pairs=3, patches=4, channels=8, latents=16, k_shared=2, k_private=3)
    assert gpu.replay_agreement(shape, torch.device("cpu"), lambda work: work).holds
    done = {"total": torch.zeros(())}
    assert not gpu.replay_agreement(shape, torch.device("cpu"), lambda work: lambda: done).holds


def test_without_a_gpu_it_ends_in_one_clear_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as stopped:
        gpu.main([])
    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"error: this benchmark needs a GPU that the kernels run on: {triton_reason(torch.device('cuda'))}\n"
    )
    assert "no CUDA device" in shown.err or "not installed" in shown.err
