"""The null token against POT in float64 on the problem with a column more, and what it does to patches and tokens."""

from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.transport.null_token import sinkhorn_with_null_token

PATCHES, EPSILON = 9, 0.1


def problem(lengths: list[int], seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Costs in [0, 2], valid columns, even mass of the patches and random mass of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.arange(max(1, *lengths)) < torch.tensor(lengths)[:, None]
    cost = 2 * torch.rand(len(lengths), PATCHES, valid.shape[1], generator=generator, dtype=dtype)
    mass = (torch.rand(valid.shape, generator=generator, dtype=dtype) + 0.1) * valid
    rows = torch.full((len(lengths), PATCHES), 1 / PATCHES, dtype=dtype)
    return cost, valid, rows, mass / mass.sum(dim=1, keepdim=True).clamp_min(1e-9)


def pots_plan(cost: Tensor, tokens: Tensor, null_mass: float, iterations: int | None) -> np.ndarray:
    """POT's plan of one pair with the column more, which is left out again; None iterates until it has converged.

    POT updates the columns' scaling first and we the rows', so it is handed the transposed problem.
    """
    matrix = np.vstack([cost.double().numpy().T, np.zeros((1, PATCHES))])
    columns = np.append(tokens.double().numpy() * (1 - null_mass), null_mass)
    enough: dict[str, Any] = (
        {"numItermax": 100_000, "stopThr": 1e-14}
        if iterations is None
        else {"numItermax": iterations, "stopThr": 0}
    )
    plan = ot.sinkhorn(columns, np.full(PATCHES, 1 / PATCHES), matrix, EPSILON, warn=False, **enough)
    return np.asarray(plan)[:-1].T


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    seed=st.integers(0, 999),
    null_mass=st.floats(0.05, 0.9),
)
@settings(max_examples=20)
def test_the_plan_is_pots_with_a_column_more(lengths: list[int], seed: int, null_mass: float) -> None:
    cost, valid, rows, columns = problem(lengths, seed)
    plan = sinkhorn_with_null_token(cost, valid, rows, columns, EPSILON, 10, null_mass)
    for pair, length in enumerate(lengths):
        assert not plan[pair, :, length:].any()
        if length:
            expected = pots_plan(cost[pair, :, :length], columns[pair, :length], null_mass, 10)
            np.testing.assert_allclose(plan[pair, :, :length].numpy(), expected, rtol=2e-5, atol=1e-8)


def test_tokens_keep_their_shares_and_patches_that_match_nothing_give_least() -> None:
    cost, valid, rows, columns = problem([3], seed=0, dtype=torch.float64)
    cost[0, 5:] = 2.0
    plan = sinkhorn_with_null_token(cost, valid, rows, columns, EPSILON, 500, 0.5)
    torch.testing.assert_close(plan.sum(dim=1), 0.5 * columns)
    given_by = plan[0].sum(dim=1)
    assert bool((given_by <= 1 / PATCHES + 1e-9).all())
    assert given_by[5:].max() < 0.05 * given_by[:5].min()


@pytest.mark.parametrize("price", [-1.0, 3.0])
def test_no_price_of_the_null_token_changes_the_converged_plan(price: float) -> None:
    """So cost 0 is no choice: adding a price to it is taking the price from all other columns."""
    cost, valid, rows, columns = problem([4], seed=2, dtype=torch.float64)
    plans = [
        sinkhorn_with_null_token(moved, valid, rows, columns, 0.5, 3000, 0.3)
        for moved in (cost, cost - price)
    ]
    torch.testing.assert_close(*plans)


def test_gradients_pass_through_the_null_token() -> None:
    cost, valid, rows, columns = problem([3, 1], seed=3, dtype=torch.float64)
    weights = torch.rand(cost.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(matrix: Tensor) -> Tensor:
        return (sinkhorn_with_null_token(matrix, valid, rows, columns, 0.5, 4, 0.5) * weights).sum()

    assert torch.autograd.gradcheck(loss, cost.requires_grad_())
