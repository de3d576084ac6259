"""A checkpoint restores weights, moments and history exactly, and is never half of one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.checkpoint import Progress, load_checkpoint, save_checkpoint
from pipeline.errors import RunError


def model_after_steps(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    take_steps(model, optimizer, steps)
    return model, optimizer


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 5)).square().sum().backward()
        optimizer.step()


def test_a_resumed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    uninterrupted, _ = model_after_steps(7)
    model, optimizer = model_after_steps(4)
    save_checkpoint(
        tmp_path / "c.safetensors", "id", model, optimizer, Progress(4, [{"step": 4, "total": 0.1}])
    )

    resumed, resumed_optimizer = model_after_steps(0)
    progress = load_checkpoint(tmp_path / "c.safetensors", "id", resumed, resumed_optimizer)
    take_steps(resumed, resumed_optimizer, 3)

    assert progress == Progress(4, [{"step": 4, "total": 0.1}])
    for expected, actual in zip(uninterrupted.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, actual)


def test_a_checkpoint_of_another_identity_is_not_resumed(tmp_path: Path) -> None:
    model, optimizer = model_after_steps(4)
    save_checkpoint(tmp_path / "c.safetensors", "one recipe", model, optimizer, Progress(4, []))
    fresh, fresh_optimizer = model_after_steps(0)
    before = [parameter.clone() for parameter in fresh.parameters()]

    assert load_checkpoint(tmp_path / "c.safetensors", "another", fresh, fresh_optimizer) == Progress(0, [])
    assert all(torch.equal(a, b) for a, b in zip(before, fresh.parameters(), strict=True))


def test_no_checkpoint_means_the_start(tmp_path: Path) -> None:
    model, optimizer = model_after_steps(0)
    assert load_checkpoint(tmp_path / "absent", "id", model, optimizer) == Progress(0, [])


def test_a_damaged_checkpoint_is_an_error_that_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    damaged = tmp_path / "c.safetensors"
    model, optimizer = model_after_steps(2)
    save_checkpoint(damaged, "id", model, optimizer, Progress(2, []))
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(RunError, match=r"c\.safetensors.*delete it"):
        load_checkpoint(damaged, "id", model, optimizer)


def test_saving_replaces_the_previous_checkpoint_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    model, optimizer = model_after_steps(1)
    for step in (1, 2):
        save_checkpoint(tmp_path / "c.safetensors", "id", model, optimizer, Progress(step, []))
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    assert load_checkpoint(tmp_path / "c.safetensors", "id", model, optimizer).step == 2
