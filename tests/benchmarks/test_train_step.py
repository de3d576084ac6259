"""The benchmark of the training step, and its baseline as an oracle at sizes of real training."""

import copy
import json
import sys

import pytest
import torch

from benchmarks import train_step
from benchmarks.dense_lucid import dense_losses
from benchmarks.performance_page import performance_page
from benchmarks.train_step import Shape, lucid, random_pairs


@pytest.mark.parametrize("shape", [Shape(3, 192, 1536), Shape(2, 96, 6144)], ids=["small", "wide"])
@pytest.mark.parametrize("padded", [18, 64])
def test_loss_and_gradients_are_those_of_dense_codes_and_padded_text(shape: Shape, padded: int) -> None:
    torch.manual_seed(0)
    sae, pairs = lucid(shape), random_pairs(shape)
    dense = copy.deepcopy(sae)
    total, expected = sae.losses(pairs).total, dense_losses(dense, pairs, padded)
    total.backward()
    expected.backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, parameter), other in zip(sae.named_parameters(), dense.parameters(), strict=True):
        error = (parameter.grad - other.grad).abs().max()
        assert error <= 1e-5 * other.grad.abs().max(), name
    for side in ("vision", "text"):
        clock = sae.activity[side].pairs_since_fired
        assert torch.equal(clock, dense.activity[side].pairs_since_fired)
        assert int((clock >= sae.options.auxiliary.dead_after_pairs).sum()) == shape.dead


def test_the_same_batch_gives_the_same_bits() -> None:
    shape = Shape(3, 192, 1536)
    gradients = []
    for _ in range(2):
        sae = lucid(shape)
        sae.losses(random_pairs(shape)).total.backward()
        gradients.append([parameter.grad for parameter in sae.parameters()])
    assert all(map(torch.equal, *gradients))


def test_the_benchmark_states_its_ratios_and_what_it_left_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sparsify", None)  # as if it were not installed
    threads = torch.get_num_threads()
    command_line = f"--tiny --rounds 1 --peers sparsify --json {tmp_path / 'result.json'}"
    train_step.main(command_line.split())
    torch.set_num_threads(threads)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ratios"].keys() == {"dense_over_sparse_small", "dense_over_sparse_real"}
    assert "benchmarks" in result["conditions"]["left_out"]["sparsify"]
    assert "result" in performance_page(tmp_path)
