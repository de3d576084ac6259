"""Entropic optimal transport by Sinkhorn's iteration: batched, masked, differentiable.

LUCID (arXiv 2602.07311) theorem 3.1 and corollary A.2: `P = diag(u) K diag(v)` with `K = exp(-C / epsilon)`,
starting from `v = 1` and alternating `u = r / (K v)`, `v = c / (K.T u)`. That order is part of the meaning:
after a finite number of iterations the columns sum exactly to c, the rows only nearly to r.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KERNEL_RANGE = 80.0
"""Largest `(max C - min C) / epsilon` within a row for which fp32 still holds the kernel: exp(-87) is its
smallest normal number. Pairs of a wider range are iterated in the log domain instead, whose relative error is that
of rounding the exponent: range times 1e-7."""


def sinkhorn(
    cost: Float[Tensor, "pair row column"],
    valid: Bool[Tensor, "pair column"],
    row_mass: Float[Tensor, "pair row"],
    column_mass: Float[Tensor, "pair column"],
    epsilon: float,
    iterations: int,
) -> Float[Tensor, "pair row column"]:
    """The plan after exactly `iterations` iterations, in float32 or better.

    Every pair is iterated as if its matrix held the valid columns only; the others are exactly 0 in the plan,
    whatever finite cost and mass they carry. A pair without valid columns gets a plan of zeros.
    The gradient is that of the finite iteration, exactly; detach the arguments to treat the plan as constant.
    """
    with torch.autocast(cost.device.type, enabled=False):
        cost = cost.to(torch.promote_types(cost.dtype, torch.float32))
        exponent = _exponent(cost, valid[:, None, :], epsilon)
        lowest = exponent.detach().masked_fill(~valid[:, None, :], 0).flatten(1)
        wide = (lowest < -KERNEL_RANGE).any(dim=1)
        if not wide.any():
            return _kernel_domain(exponent, row_mass, column_mass, iterations)
        plan = torch.zeros_like(exponent)
        for pairs, solve in ((~wide, _kernel_domain), (wide, _log_domain)):
            chosen = pairs.nonzero()[:, 0]
            part = solve(exponent[chosen], row_mass[chosen], column_mass[chosen], iterations)
            plan = plan.index_copy(0, chosen, part)
        return plan


def _exponent(cost: Tensor, valid: Tensor, epsilon: float) -> Tensor:
    """`(row minimum - cost) / epsilon`, -inf in columns that are not valid.

    A shift of a row is absorbed by `u`, which is computed first: every iterate of the plan stays the same.
    """
    lowest = cost.detach().masked_fill(~valid, torch.inf).amin(dim=2, keepdim=True)
    shifted = cost - lowest.masked_fill(lowest.isinf(), 0)
    return (shifted / -epsilon).masked_fill(~valid, -torch.inf)


def _kernel_domain(exponent: Tensor, row_mass: Tensor, column_mass: Tensor, iterations: int) -> Tensor:
    kernel = exponent.exp()
    row_mass, column_mass = row_mass[:, :, None], column_mass[:, None, :]
    row_scale = torch.zeros_like(row_mass)
    column_scale = torch.ones_like(column_mass)
    for _ in range(iterations):
        row_scale = _divide(row_mass, kernel @ column_scale.mT)
        column_scale = _divide(column_mass, row_scale.mT @ kernel)
    return row_scale * kernel * column_scale


def _divide(mass: Tensor, total: Tensor) -> Tensor:
    """`mass / total`, and 0 with gradient 0 where the total is 0: a column that is not valid."""
    nothing = total == 0
    return (mass / total.masked_fill(nothing, 1)).masked_fill(nothing, 0)


def _log_domain(exponent: Tensor, row_mass: Tensor, column_mass: Tensor, iterations: int) -> Tensor:
    log_row_mass, log_column_mass = _log(row_mass)[:, :, None], _log(column_mass)[:, None, :]
    log_row_scale = torch.zeros_like(log_row_mass)
    log_column_scale = torch.zeros_like(log_column_mass)
    for _ in range(iterations):
        log_row_scale = log_row_mass - _log_sum_exp(exponent + log_column_scale, dim=2)
        log_column_scale = log_column_mass - _log_sum_exp(exponent + log_row_scale, dim=1)
    return (exponent + log_row_scale + log_column_scale).exp()


def _log(mass: Tensor) -> Tensor:
    """The logarithm; -inf with gradient 0 where there is no mass."""
    nothing = mass == 0
    return mass.masked_fill(nothing, 1).log().masked_fill(nothing, -torch.inf)


def _log_sum_exp(exponent: Tensor, dim: int) -> Tensor:
    """`logsumexp`, and 0 with gradient 0 of nothing but -inf: a column that is not valid."""
    nothing = exponent.detach().amax(dim=dim, keepdim=True) == -torch.inf
    return exponent.masked_fill(nothing, 0).logsumexp(dim=dim, keepdim=True).masked_fill(nothing, 0)
