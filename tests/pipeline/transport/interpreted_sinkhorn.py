"""The fused kernels of Sinkhorn against their eager twin; on a GPU where there is one, else interpreted.

Started by `test_sinkhorn_triton.py` in a process of its own, since Triton decides once per process how it runs kernels.
"""

import pytest
import torch
from torch import Tensor

from pipeline.sparse.availability import triton_reason
from pipeline.transport import sinkhorn_eager, sinkhorn_triton
from pipeline.transport.null_token import sinkhorn_with_null_token
from pipeline.transport.sinkhorn import sinkhorn

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPSILON = 0.1
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def draw(lengths: list[int], patches: int, width: float = 20.0) -> Problem:
    """Problems of the given caption lengths; the first pair's costs span `width` times epsilon, others' 20 times."""
    generator = torch.Generator().manual_seed(patches)
    pairs, longest = len(lengths), max(lengths)
    valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
    cost = 2 * torch.rand(pairs, patches, longest, generator=generator)
    cost[0] *= width / 20
    cost.masked_fill_(~valid[:, None, :], 1e6)
    rows = torch.rand(pairs, patches, generator=generator) + 0.1
    columns = (torch.rand(pairs, longest, generator=generator) + 0.1) * valid
    rows, columns = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True).clamp_min(1e-30)
    return tuple(tensor.to(DEVICE) for tensor in (cost, valid, rows, columns))  # type: ignore[return-value]


def largest_difference(found: Tensor, expected: Tensor, least_scale: float = 0.0) -> float:
    """Relative to the largest number there, and to no less than `least_scale`."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(least_scale))


def compare(problem: Problem, iterations: int, tolerance: float) -> None:
    """Kernel and twin: plan, shares that are used, all gradients."""
    found = sinkhorn_triton.solve(*problem, EPSILON, iterations)
    expected = sinkhorn_eager.solve(*problem, EPSILON, iterations)
    assert found[0].mT.is_contiguous() and expected[0].mT.is_contiguous()
    assert largest_difference(found[0], expected[0]) <= tolerance
    assert not found[0][~problem[1][:, None, :].expand_as(found[0])].any()
    gradient = torch.randn(found[0].shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    of_found = sinkhorn_triton.differentiate(gradient, *problem, *found[1:], EPSILON)
    of_expected = sinkhorn_eager.differentiate(gradient, *problem, *expected[1:], EPSILON)
    # A plan of one row or column is fixed by its masses: then the gradient of the cost is 0 but for rounding.
    scale = float(expected[0].max()) / EPSILON
    for one, other in zip(of_found, of_expected, strict=True):
        assert one.isfinite().all()
        assert largest_difference(one, other, scale) <= 5 * tolerance


@pytest.mark.parametrize("patches", [1, 7, 196])
@pytest.mark.parametrize(
    ("lengths", "iterations"), [([1], 10), ([5, 0, 3], 10), ([16, 17], 4), ([33, 64], 2)]
)
def test_kernels_agree_with_their_eager_twin(lengths: list[int], iterations: int, patches: int) -> None:
    compare(draw(lengths, patches), iterations, tolerance=2e-6)


@pytest.mark.parametrize("width", [75.0, 100.0, 400.0])
def test_kernels_agree_with_their_eager_twin_at_wide_costs(width: float) -> None:
    compare(draw([9, 4, 0], 20, width), iterations=10, tolerance=max(5e-6, width * 1e-7))


def test_one_iteration_of_the_kernels_is_that_of_the_eager_twin() -> None:
    compare(draw([3, 2], 5), iterations=1, tolerance=2e-6)


@pytest.mark.parametrize("width", [20.0, 200.0])
def test_masses_of_zero_are_treated_as_the_eager_twin_treats_them(width: float) -> None:
    cost, valid, rows, columns = draw([4, 3, 3], 6, width)
    columns[0, 1], rows[0, 2], columns[1], rows[2] = 0, 0, 0, 0
    compare((cost, valid, rows, columns), iterations=5, tolerance=width * 1e-6)
    assert not sinkhorn(cost, valid, rows, columns, EPSILON, 5)[1:].any()


def test_a_cost_that_is_not_a_number_is_seen_in_the_plan_of_its_pair_alone() -> None:
    cost, *others = draw([4, 4], 6)
    cost[1, 2, 3] = torch.nan
    plan = sinkhorn_triton.solve(cost, *others, EPSILON, 3)[0]
    assert plan[0].isfinite().all()
    assert plan[1].isnan().any()


def test_the_kernels_serve_a_null_token(monkeypatch: pytest.MonkeyPatch) -> None:
    cost, valid, rows, columns = draw([6, 2], 196)
    found = sinkhorn_with_null_token(cost, valid, rows, columns, EPSILON, 3, 0.8)
    monkeypatch.setattr(sinkhorn_triton, "fits", lambda cost: False)
    expected = sinkhorn_with_null_token(cost, valid, rows, columns, EPSILON, 3, 0.8)
    assert largest_difference(found, expected) <= 2e-6


def test_the_operator_takes_the_kernels_where_they_fit_and_the_twin_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launched: list[tuple[int, ...]] = []
    solve = sinkhorn_triton.solve

    def recorded(cost: Tensor, *others: object) -> tuple[Tensor, Tensor, Tensor]:
        launched.append(tuple(cost.shape))
        return solve(cost, *others)  # type: ignore[arg-type]

    assert triton_reason(DEVICE) is None
    monkeypatch.setattr(sinkhorn_triton, "solve", recorded)
    for lengths, patches in (([6, 2], 196), ([65], 256), ([2], 1025)):
        cost, *others = draw(lengths, patches)
        cost.requires_grad_()
        plan = sinkhorn(cost, *others, EPSILON, 2)
        plan.square().sum().backward()
        expected = sinkhorn_eager.solve(cost.detach(), *others, EPSILON, 2)[0]
        assert largest_difference(plan.detach(), expected) <= 2e-6
    sinkhorn(cost.detach().double(), *others, EPSILON, 2)
    assert launched == [(2, 196, 6)]
