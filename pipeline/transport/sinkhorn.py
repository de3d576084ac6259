"""Entropic optimal transport by Sinkhorn's iteration: batched, masked, differentiable.

LUCID (arXiv 2602.07311) theorem 3.1 and corollary A.2: `P = diag(u) K diag(v)` with `K = exp(-C / epsilon)`,
starting from `v = 1` and alternating `u = r / (K v)`, `v = c / (K.T u)`. That order is part of the meaning:
after a finite number of iterations the columns sum exactly to c, the rows only nearly to r.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KERNEL_RANGE = 80.0
"""Largest `(max C - min C) / epsilon` at which fp32 still holds the kernel: exp(-87) is its smallest normal
number. A wider range is iterated in the log domain instead."""


def sinkhorn(
    cost: Float[Tensor, "pair row column"],
    row_mass: Float[Tensor, "pair row"],
    column_mass: Float[Tensor, "pair column"],
    epsilon: float,
    iterations: int,
) -> Float[Tensor, "pair row column"]:
    """The plan after exactly `iterations` iterations, at least in float32.

    A row or column of mass 0 takes no part: its entries are exactly 0, whatever the cost there, as long as
    it is finite. Padding is expressed that way. A pair with no mass at all gets a plan of zeros.
    The gradient is that of the finite iteration, exactly; detach the arguments to treat the plan as constant.
    """
    cost = cost.to(torch.promote_types(cost.dtype, torch.float32))
    takes_part = (row_mass > 0)[:, :, None] & (column_mass > 0)[:, None, :]
    exponent = _shifted(cost, takes_part) / -epsilon
    wide = exponent.detach().amin(dim=(1, 2)) < -KERNEL_RANGE if exponent.numel() else takes_part.new_zeros(0)
    if not wide.any():
        return _kernel_domain(exponent, takes_part, row_mass, column_mass, iterations)
    if wide.all():
        return _log_domain(exponent, takes_part, row_mass, column_mass, iterations)
    plan = torch.zeros_like(exponent)
    for pairs, solve in (((~wide).nonzero()[:, 0], _kernel_domain), (wide.nonzero()[:, 0], _log_domain)):
        part = solve(exponent[pairs], takes_part[pairs], row_mass[pairs], column_mass[pairs], iterations)
        plan = plan.index_copy(0, pairs, part)
    return plan


def _shifted(cost: Tensor, takes_part: Tensor) -> Tensor:
    """The cost less its row's minimum, 0 outside. `u` absorbs a row's shift, so every iterate stays as it is."""
    lowest = cost.detach().masked_fill(~takes_part, torch.inf).amin(dim=2, keepdim=True)
    return (cost - lowest.masked_fill(lowest.isinf(), 0)).masked_fill(~takes_part, 0)


def _kernel_domain(
    exponent: Float[Tensor, "pair row column"],
    takes_part: Bool[Tensor, "pair row column"],
    row_mass: Float[Tensor, "pair row"],
    column_mass: Float[Tensor, "pair column"],
    iterations: int,
) -> Tensor:
    kernel = exponent.exp() * takes_part
    row_mass, column_mass = row_mass[:, :, None], column_mass[:, None, :]
    row_scale = torch.zeros_like(row_mass)
    column_scale = torch.ones_like(column_mass)
    for _ in range(iterations):
        row_scale = _divide(row_mass, kernel @ column_scale.mT)
        column_scale = _divide(column_mass, row_scale.mT @ kernel)
    return row_scale * kernel * column_scale


def _divide(mass: Tensor, total: Tensor) -> Tensor:
    """`mass / total`, and 0 where the total is 0: a row or column that takes no part."""
    nothing = total == 0
    return (mass / total.masked_fill(nothing, 1)).masked_fill(nothing, 0)


def _log_domain(
    exponent: Float[Tensor, "pair row column"],
    takes_part: Bool[Tensor, "pair row column"],
    row_mass: Float[Tensor, "pair row"],
    column_mass: Float[Tensor, "pair column"],
    iterations: int,
) -> Tensor:
    exponent = exponent.masked_fill(~takes_part, -torch.inf)
    log_row_mass, log_column_mass = _log(row_mass)[:, :, None], _log(column_mass)[:, None, :]
    log_row_scale = torch.zeros_like(log_row_mass)
    log_column_scale = torch.zeros_like(log_column_mass)
    for _ in range(iterations):
        log_row_scale = log_row_mass - _log_sum_exp(exponent + log_column_scale, dim=2)
        log_column_scale = log_column_mass - _log_sum_exp(exponent + log_row_scale, dim=1)
    return (exponent + log_row_scale + log_column_scale).exp()


def _log(mass: Tensor) -> Tensor:
    """The logarithm where there is mass; 0 elsewhere, where the exponent of -inf decides alone."""
    return mass.where(mass > 0, 1).log()


def _log_sum_exp(exponent: Tensor, dim: int) -> Tensor:
    """`logsumexp`, and 0 with gradient 0 over nothing but -inf: a row or column that takes no part."""
    nothing = exponent.detach().amax(dim=dim, keepdim=True) == -torch.inf
    return exponent.masked_fill(nothing, 0).logsumexp(dim=dim, keepdim=True).masked_fill(nothing, 0)
