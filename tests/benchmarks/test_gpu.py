"""The benchmark of the GPU runs all that it times, on a CPU with the eager operations in place of the kernels."""

from pathlib import Path

import torch

from benchmarks import gpu


def test_everything_that_is_timed_runs_and_has_its_bars(tmp_path: Path) -> None:
    shape = gpu.Shape(pairs=2, patches=3, channels=8, latents=16, k_shared=2, k_private=3)
    works = gpu.works(shape, tmp_path, torch.device("cpu"))
    for work in works.values():
        work()
    ratios = gpu.ratios_to_bars(dict.fromkeys([*works, "schedule"], 4.0))
    assert ratios["step_bf16_over_pass"] == 0.5 and len(ratios) == 15
