"""A checkpoint restores weights, moments and history exactly, and is never half of one."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import RunError
from pipeline.runs.checkpoint import Progress, TrainingState, load_checkpoint, save_checkpoint

IDENTITY = {"train": {"seed": 0, "learning_rate": 0.1}, "cache": "x"}


def state_after_steps(steps: int) -> TrainingState:
    """Two layers, the matrices trained by Muon and the vectors by AdamW."""
    torch.manual_seed(0)
    modules = {"first": nn.Linear(5, 4), "second": nn.Linear(4, 3)}
    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    optimizers = [
        torch.optim.Muon([p for p in parameters if p.ndim == 2], lr=0.1),
        torch.optim.AdamW([p for p in parameters if p.ndim == 1], lr=0.1, fused=True),
    ]
    state = TrainingState(modules, optimizers)
    take_steps(state, steps)
    return state


def take_steps(state: TrainingState, steps: int) -> None:
    for _ in range(steps):
        state.modules["second"](state.modules["first"](torch.ones(2, 5))).square().sum().backward()
        for optimizer in state.optimizers:
            optimizer.step()
            optimizer.zero_grad()


def weights(state: TrainingState) -> list[torch.Tensor]:
    return [parameter for module in state.modules.values() for parameter in module.parameters()]


def test_a_resumed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    uninterrupted, interrupted, resumed = (state_after_steps(steps) for steps in (7, 4, 0))
    done = Progress(4, [{"step": 4, "total": 0.1}])
    save_checkpoint(tmp_path / "c.safetensors", IDENTITY, interrupted, done)

    assert load_checkpoint(tmp_path / "c.safetensors", IDENTITY, resumed) == done
    take_steps(resumed, 3)

    for expected, actual in zip(weights(uninterrupted), weights(resumed), strict=True):
        assert torch.equal(expected, actual)


def test_a_checkpoint_of_another_identity_is_refused_by_what_differs_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, IDENTITY, state_after_steps(4), Progress(4, []))
    before = path.read_bytes()
    fresh = state_after_steps(0)
    weights_before = [parameter.clone() for parameter in weights(fresh)]
    other = {"train": {"seed": 0, "learning_rate": 0.5}, "cache": "x"}
    with pytest.raises(
        RunError, match=r"\(step 4\): it has train.learning_rate: 0.1 and not 0.5; go back"
    ) as refused:
        load_checkpoint(path, other, fresh)
    assert "seed" not in str(refused.value) and "\n" not in str(refused.value)
    assert path.read_bytes() == before
    assert all(torch.equal(a, b) for a, b in zip(weights_before, weights(fresh), strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "c.safetensors"
    state = state_after_steps(2)
    save_checkpoint(path, IDENTITY, state, Progress(2, [{"step": 2, "total": 0.5}]))
    content = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(len(content) * 8)
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"c\.safetensors: .*"):
        load_checkpoint(path, IDENTITY, state)


def test_no_checkpoint_means_the_start(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "absent", IDENTITY, state_after_steps(0)) == Progress(0, [])


def test_a_damaged_checkpoint_is_an_error_that_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    damaged = tmp_path / "c.safetensors"
    state = state_after_steps(2)
    save_checkpoint(damaged, IDENTITY, state, Progress(2, []))
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(RunError, match=r"c\.safetensors.*delete it"):
        load_checkpoint(damaged, IDENTITY, state)


def test_saving_replaces_the_previous_checkpoint_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    state = state_after_steps(1)
    for step in (1, 2):
        save_checkpoint(tmp_path / "c.safetensors", IDENTITY, state, Progress(step, []))
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    assert load_checkpoint(tmp_path / "c.safetensors", IDENTITY, state).step == 2
