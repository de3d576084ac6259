"""Sinkhorn against POT and a taped iteration in float64, and its gradient against finite differences."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from pipeline.transport import sinkhorn_eager
from pipeline.transport.sinkhorn import sinkhorn
from pipeline.transport.sinkhorn_eager import KERNEL_RANGE


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


def taped_plan(cost: Tensor, valid: Tensor, r: Tensor, c: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The iteration as it is defined, pair by pair over the valid columns, for autograd to differentiate."""
    plans = []
    for n, length in enumerate(valid.sum(1).tolist()):
        if not length:
            plans.append(torch.zeros_like(cost[n]))
            continue
        columns = cost[n, :, :length]
        kernel = ((columns.min(1, keepdim=True).values - columns) / epsilon).exp()
        v = torch.ones(length, dtype=cost.dtype)
        for _ in range(iterations):
            u = r[n] / (kernel @ v)
            v = c[n, :length] / (kernel.T @ u)
        plans.append(pad(u[:, None] * kernel * v, (0, cost.shape[2] - length)))
    return torch.stack(plans)


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


@pytest.mark.parametrize("epsilon", [2 / 75, 0.02, 0.01, 4e-3])
def test_small_epsilon_stays_right_across_the_switch_to_the_log_domain(epsilon: float) -> None:
    cost, valid, r, c = problem([5, 3])
    # One column as dear as can be for every row: without the switch its whole kernel is 0 in float32.
    cost[:, :, 0], cost[:, :, 1] = 2.0, cost[:, :, 1] / 100
    cost[:, 0, 1] = 0.0
    plan = sinkhorn(cost, valid, r, c, epsilon, 10)
    reference = taped_plan(cost.double(), valid, r.double(), c.double(), epsilon, 10)
    # An exponent of 2 / epsilon is itself only exact to that many float32 roundings.
    tolerance = max(2e-6, 2 / epsilon * torch.finfo(torch.float32).eps)
    assert relative(plan, reference) <= tolerance
    assert (plan.sum(1) - c).abs().max() <= tolerance


@pytest.mark.parametrize(("epsilon", "massless"), [(0.1, 1), (0.01, 0)])
def test_both_domains_agree_in_float64_where_both_are_exact(
    epsilon: float, massless: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost, valid, r, c = problem([5, 2, 0], dtype=torch.float64)
    c[0, :massless], r[0, :massless] = 0, 0
    results = []
    for widest in (1e9, -1.0):
        monkeypatch.setattr(sinkhorn_eager, "KERNEL_RANGE", widest)
        arguments = [tensor.clone().requires_grad_() for tensor in (cost, r, c)]
        plan = sinkhorn(arguments[0], valid, *arguments[1:], epsilon, 10)
        results.append([plan, *torch.autograd.grad(plan.square().sum(), arguments)])
    for of_kernel, of_log in zip(*results, strict=True):
        torch.testing.assert_close(of_kernel, of_log, rtol=1e-9, atol=1e-14)


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
    assert bool((scale * cost.max() / 0.5) > KERNEL_RANGE) == (scale > 1)

    def plan(cost: Tensor, r: Tensor, c: Tensor) -> Tensor:
        return sinkhorn(scale * cost, valid, r, c * valid, 0.5, 4)

    arguments = (cost.requires_grad_(), r.requires_grad_(), c.requires_grad_())
    assert torch.autograd.gradcheck(plan, arguments)


@pytest.mark.parametrize("width", [20.0, 79.0, 200.0])
def test_float32_gradients_are_those_of_the_taped_float64_iteration(width: float) -> None:
    cost, valid, r, c = problem([6, 0, 3, 1], rows=9)
    cost[0] *= width / 20
    cost[:, 0, 0], cost[0, 1, 0] = 0, width / 10
    weights = torch.randn(cost.shape, generator=torch.Generator().manual_seed(1))
    single = [tensor.clone().requires_grad_() for tensor in (cost, r, c)]
    double = [tensor.double().requires_grad_() for tensor in (cost, r, c)]
    found = (sinkhorn(single[0], valid, *single[1:], 0.1, 10) * weights).sum()
    expected = (taped_plan(double[0], valid, *double[1:], 0.1, 10) * weights).sum()
    for gradient, exact in zip(
        torch.autograd.grad(found, single), torch.autograd.grad(expected, double), strict=True
    ):
        assert relative(gradient, exact) <= max(1e-5, width * 2e-7)


def test_only_the_arguments_and_two_vectors_per_iteration_are_kept_for_the_gradient() -> None:
    cost, valid, r, c = problem([5, 4, 5], rows=11)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sinkhorn(cost.requires_grad_(), valid, r, c, 0.1, 6)
    vectors = 6 * (r.numel() + c.numel())
    assert sum(t.numel() for t in kept) == sum(t.numel() for t in (cost, valid, r, c)) + vectors


@pytest.mark.parametrize("side", ["rows", "columns"])
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["kernel domain", "log domain"])
def test_a_pair_without_mass_gets_zeros_and_no_gradient(side: str, scale: float) -> None:
    cost, valid, r, c = problem([4, 2])
    (r if side == "rows" else c)[1] = 0
    arguments = [tensor.requires_grad_() for tensor in (cost, r, c)]
    plan = sinkhorn(scale * cost, valid, r, c, 0.1, 10)
    assert plan[0].any()
    assert not plan[1].any()
    for gradient in torch.autograd.grad(plan.square().sum(), arguments):
        assert gradient.isfinite().all()
        assert not gradient[1].any()


@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["kernel domain", "log domain"])
def test_a_cost_that_is_not_a_number_is_seen_in_the_plan_of_its_pair_alone(scale: float) -> None:
    cost, valid, r, c = problem([4, 4])
    cost[1, 2, 3] = torch.nan
    plan = sinkhorn(scale * cost, valid, r, c, 0.1, 10)
    assert plan[0].isfinite().all()
    assert plan[1].isnan().any()


def test_autocast_does_not_lower_the_precision() -> None:
    cost, valid, r, c = problem([5, 3])
    cost.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        plan = sinkhorn(cost, valid, r, c, 0.1, 10)
        (gradient,) = torch.autograd.grad(plan.square().sum(), cost)
    expected = sinkhorn(cost, valid, r, c, 0.1, 10)
    assert torch.equal(plan, expected)
    assert torch.equal(gradient, torch.autograd.grad(expected.square().sum(), cost)[0])


def test_the_operators_keep_torchs_rules_for_shapes_layouts_and_gradients() -> None:
    cost, valid, r, c = problem([3, 1], rows=4)
    arguments = (cost.requires_grad_(), valid, r.requires_grad_(), c.requires_grad_(), 0.1, 3)
    torch.library.opcheck(torch.ops.concord.sinkhorn.default, arguments)
    _, *shares = torch.ops.concord.sinkhorn(*arguments)
    constants = [tensor.detach() for tensor in (torch.ones_like(cost), cost, valid, r, c, *shares)]
    torch.library.opcheck(torch.ops.concord.sinkhorn_backward.default, (*constants, 0.1))
