"""Sinkhorn against POT in float64, and its gradient against finite differences."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.transport import sinkhorn as module
from pipeline.transport.sinkhorn import sinkhorn


def finite_plan(cost: Tensor, r: Tensor, c: Tensor, epsilon: float, iterations: int) -> Tensor:
    """POT's plan after exactly so many iterations, float64: its threshold is out of reach.

    POT updates the columns' scaling first and we the rows', so it is handed the transposed problem.
    """
    a, b, m = c.double().numpy(), r.double().numpy(), cost.T.double().numpy()
    plan = ot.sinkhorn(a, b, m, epsilon, numItermax=iterations, stopThr=0, warn=False)
    return torch.from_numpy(plan).T


def converged_plan(cost: Tensor, r: Tensor, c: Tensor, epsilon: float) -> Tensor:
    plan = ot.sinkhorn(
        r.double().numpy(),
        c.double().numpy(),
        cost.double().numpy(),
        epsilon,
        method="sinkhorn_log",
        numItermax=100_000,
        stopThr=1e-13,
    )
    return torch.from_numpy(np.asarray(plan))


def problem(
    lengths: list[int], rows: int = 7, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Costs in [0, 2], valid columns and random marginals of captions of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    cost = 2 * torch.rand(len(lengths), rows, longest, generator=generator, dtype=torch.float64)
    valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
    r = torch.rand(len(lengths), rows, generator=generator, dtype=torch.float64) + 0.1
    c = (torch.rand(len(lengths), longest, generator=generator, dtype=torch.float64) + 0.1) * valid
    r, c = r / r.sum(1, keepdim=True), c / c.sum(1, keepdim=True).clamp_min(1e-300)
    return cost.to(dtype), valid, r.to(dtype), c.to(dtype)


def relative(plan: Tensor, expected: Tensor) -> float:
    return float((plan.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("iterations", [1, 2, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.1, 1.0])
def test_float32_plan_is_pots_float64_plan_after_as_many_iterations(epsilon: float, iterations: int) -> None:
    cost, valid, r, c = problem([5, 5, 5])
    plan = sinkhorn(cost, valid, r, c, epsilon, iterations)
    for n in range(3):
        assert relative(plan[n], finite_plan(cost[n], r[n], c[n], epsilon, iterations)) <= 2e-6


def test_columns_are_exact_and_rows_only_nearly_after_a_finite_iteration() -> None:
    cost, valid, r, c = problem([5, 5])
    plan = sinkhorn(cost, valid, r, c, 0.05, 2)
    assert torch.allclose(plan.sum(1), c, atol=1e-6)
    assert (plan.sum(2) - r).abs().max() > 1e-4


def test_many_iterations_reach_pots_converged_plan() -> None:
    cost, valid, r, c = problem([6], dtype=torch.float64)
    assert (
        relative(sinkhorn(cost, valid, r, c, 0.1, 20_000)[0], converged_plan(cost[0], r[0], c[0], 0.1))
        <= 1e-8
    )


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(any),
    rows=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    rubbish=st.sampled_from([0.0, -1e6, 1e6]),
)
@settings(max_examples=40)
def test_padding_changes_nothing_and_is_exactly_zero(
    lengths: list[int], rows: int, seed: int, rubbish: float
) -> None:
    cost, valid, r, c = problem(lengths, rows, seed, torch.float64)
    padded = cost.masked_fill(~valid[:, None, :], rubbish)
    plan = sinkhorn(padded, valid, r, c, 0.1, 10)
    for n, length in enumerate(lengths):
        assert torch.equal(
            plan[n, :, length:], torch.zeros(rows, plan.shape[2] - length, dtype=torch.float64)
        )
        if length:
            alone = cost[n : n + 1, :, :length]
            expected = sinkhorn(
                alone, valid[n : n + 1, :length], r[n : n + 1], c[n : n + 1, :length], 0.1, 10
            )
            torch.testing.assert_close(plan[n, :, :length], expected[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rows", [1, 4])
def test_one_token_takes_all_the_mass(rows: int) -> None:
    cost, valid, r, c = problem([1], rows)
    torch.testing.assert_close(sinkhorn(cost, valid, r, c, 0.1, 1)[0, :, 0], r[0])


def test_a_pair_without_valid_columns_gets_zeros_and_finite_gradients() -> None:
    cost, valid, r, c = problem([3, 0])
    cost.requires_grad_()
    plan = sinkhorn(cost, valid, r, c, 0.1, 10)
    plan.square().sum().backward()
    assert torch.equal(plan[1], torch.zeros_like(plan[1]))
    assert cost.grad is not None and cost.grad.isfinite().all()
    assert not cost.grad[1].any()


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # inside POT
def test_a_column_of_no_mass_is_zero_in_the_plan_but_starts_the_iteration_like_pot() -> None:
    cost, valid, r, c = problem([4])
    c = torch.tensor([[0.5, 0.0, 0.2, 0.3]])
    plan = sinkhorn(cost, valid, r, c, 0.1, 3)
    assert torch.equal(plan[0, :, 1], torch.zeros(7))
    assert relative(plan[0], finite_plan(cost[0], r[0], c[0], 0.1, 3)) <= 2e-6


@pytest.mark.parametrize("epsilon", [2 / 75, 0.02, 0.01, 1e-3])
def test_small_epsilon_stays_right_across_the_switch_to_the_log_domain(epsilon: float) -> None:
    cost, valid, r, c = problem([5, 3])
    # One column as dear as can be for every row: without the switch its whole kernel is 0 in float32.
    cost[:, :, 0], cost[:, :, 1] = 2.0, cost[:, :, 1] / 100
    cost[:, 0, 1] = 0.0
    plan = sinkhorn(cost, valid, r, c, epsilon, 10)
    reference = module._log_domain(
        module._exponent(cost.double(), valid[:, None, :], epsilon), r.double(), c.double(), 10
    )
    # An exponent of 2 / epsilon is itself only exact to that many float32 roundings.
    tolerance = max(2e-6, 2 / epsilon * torch.finfo(torch.float32).eps)
    assert relative(plan, reference) <= tolerance
    assert (plan.sum(1) - c).abs().max() <= tolerance


@pytest.mark.parametrize("epsilon", [0.1, 0.01])
def test_both_domains_agree_in_float64_where_both_are_exact(epsilon: float) -> None:
    cost, valid, r, c = problem([5, 2, 0], dtype=torch.float64)
    exponent = module._exponent(cost, valid[:, None, :], epsilon)
    torch.testing.assert_close(
        module._kernel_domain(exponent, r, c, 10),
        module._log_domain(exponent, r, c, 10),
        rtol=1e-9,
        atol=1e-14,
    )


def test_the_switch_is_made_per_pair() -> None:
    cost, valid, r, c = problem([4, 4])
    cost[1] *= 20
    both = sinkhorn(cost, valid, r, c, 0.1, 10)
    narrow = sinkhorn(cost[:1], valid[:1], r[:1], c[:1], 0.1, 10)
    assert torch.equal(both[:1], narrow)


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    cost, valid, r, c = problem([4], dtype=torch.float64)
    shift = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        sinkhorn(cost + shift, valid, r, c, 0.1, 4), sinkhorn(cost, valid, r, c, 0.1, 4)
    )


@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["kernel domain", "log domain"])
def test_unrolled_gradient_is_that_of_the_finite_iteration(scale: float) -> None:
    cost, valid, r, c = problem([3, 2, 0], rows=3, dtype=torch.float64)
    assert bool((scale * cost.max() / 0.5) > module.KERNEL_RANGE) == (scale > 1)

    def plan(cost: Tensor, r: Tensor, c: Tensor) -> Tensor:
        return sinkhorn(scale * cost, valid, r, c * valid, 0.5, 4)

    arguments = (cost.requires_grad_(), r.requires_grad_(), c.requires_grad_())
    assert torch.autograd.gradcheck(plan, arguments)


def test_autocast_does_not_lower_the_precision() -> None:
    cost, valid, r, c = problem([5, 3])
    with torch.autocast("cpu", torch.bfloat16):
        plan = sinkhorn(cost, valid, r, c, 0.1, 10)
    assert torch.equal(plan, sinkhorn(cost, valid, r, c, 0.1, 10))
