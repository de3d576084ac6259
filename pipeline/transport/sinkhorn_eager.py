"""Sinkhorn's iteration and its gradient in plain torch: what runs on a CPU, and the meaning of the GPU kernel.

Matrices are laid out [pair, column, row] and vectors [pair, 1, n]. Both products with the kernel
`K = exp(-C / epsilon)` then are products of a single row with a matrix, the shape that torch multiplies fastest
on a CPU: an iteration costs little more than reading K twice.

Solving hands on the *shares* of every half step, `1 / (K v)` and `1 / (K.T u)`; with the masses they give every u
and v, and with the cost all that the gradient needs. Of a pair that is iterated in the log domain they are logarithms.
"""

from typing import NamedTuple

import torch
from torch import Tensor

KERNEL_RANGE = 80.0
"""Largest `(max C - min C) / epsilon` within a pair for which fp32 still holds the kernel: exp(-87) is its
smallest normal number. Pairs of a wider range are iterated in the log domain instead, whose relative error is that
of rounding the exponent: range times 1e-7."""

LARGEST_LINK = 1e35
"""A plan entry over the masses of its row and column is at most 1 over the smaller of the two, but without bound
where one is 0. It is cut off here, so that such a mass gets a large gradient and never `inf * 0`."""

_LOG2_E = 1.4426950408889634


class _Problem(NamedTuple):
    """A batch as the iteration wants it: without columns that no pair uses, and with nothing that divides by 0.

    A column that is not valid starts without scale and has no mass, so it may keep any finite cost. A pair
    without mass is replaced by one of mass 1 everywhere, and its plan by zeros.
    """

    shifted: Tensor
    """`minimum of the pair - cost` [pair, column, row], at most 0."""
    row_mass: Tensor
    column_mass: Tensor
    start: Tensor
    """What v starts from: 1 in valid columns."""
    mask: Tensor
    """1 in columns that appear in the plan: valid ones of a pair with mass. Else 0."""

    def part(self, pairs: Tensor) -> "_Problem":
        return _Problem(*(tensor[pairs] for tensor in self))


def solve(
    cost: Tensor, valid: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute plan [pair, row, column], shares of the rows [pair, iteration, row] and of the columns likewise.

    The plan is the transpose of a contiguous tensor: its sums and products run along the many rows.
    The arguments are those of `sinkhorn`, all floating-point ones of the same type.
    """
    problem, wide = _prepare(cost, valid, row_mass, column_mass, epsilon)
    if wide is None:
        plan, row_shares, column_shares = _solve_kernel(problem, epsilon, iterations)
    else:
        plan, row_shares, column_shares = _merge(
            wide,
            _solve_kernel(problem.part(~wide), epsilon, iterations),
            _solve_log(problem.part(wide), epsilon, iterations),
        )
    columns = cost.shape[2]
    return _restore(plan, columns, dim=1).mT, row_shares, _restore(column_shares, columns, dim=2)


def differentiate(
    gradient: Tensor,
    cost: Tensor,
    valid: Tensor,
    row_mass: Tensor,
    column_mass: Tensor,
    row_shares: Tensor,
    column_shares: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute exact gradients of cost, row mass and column mass through the iteration that `solve` ran.

    Args:
        gradient: of the plan.
        row_shares: what `solve` returned; likewise `column_shares`.
    """
    problem, wide = _prepare(cost, valid, row_mass, column_mass, epsilon)
    used = problem.shifted.shape[1]
    saved = gradient[:, :, :used].mT, row_shares, column_shares[:, :, :used]
    if wide is None:
        grad_cost, grad_rows, grad_columns = _differentiate_kernel(problem, epsilon, *saved)
    else:
        grad_cost, grad_rows, grad_columns = _merge(
            wide,
            _differentiate_kernel(problem.part(~wide), epsilon, *(tensor[~wide] for tensor in saved)),
            _differentiate_log(problem.part(wide), epsilon, *(tensor[wide] for tensor in saved)),
        )
    columns = cost.shape[2]
    grad_cost = _restore(grad_cost.mT.contiguous(), columns, dim=2)
    return grad_cost, grad_rows[:, 0], _restore(grad_columns, columns, dim=2)[:, 0]


def _prepare(
    cost: Tensor, valid: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float
) -> tuple[_Problem, Tensor | None]:
    """The problem, and which pairs need the log domain: None if none does, as is usual."""
    used = valid.any(dim=0).nonzero()
    columns = int(used[-1]) + 1 if len(used) else 1
    valid, row_mass, column_mass = valid[:, None, :columns], row_mass[:, None], column_mass[:, None, :columns]
    column_mass = column_mass.where(valid, 0)
    has_mass = (row_mass.sum(dim=2, keepdim=True) != 0) & (column_mass.sum(dim=2, keepdim=True) != 0)
    # From here to the kernel one buffer is rewritten in place: fresh memory takes longer than the arithmetic.
    matrix = cost.new_empty(len(cost), columns, cost.shape[1]).copy_(cost[:, :, :columns].mT)
    lowest, width = _bounds(matrix)
    wide = width > KERNEL_RANGE * epsilon
    if bool(wide.any()):
        # It may be the padding that is so far off.
        matrix = _fill_padding(matrix, valid)
        lowest, width = _bounds(matrix)
        wide = width > KERNEL_RANGE * epsilon
    problem = _Problem(
        torch.sub(lowest[:, None, None], matrix, out=matrix),
        row_mass.where(has_mass, 1),
        column_mass.where(has_mass, 1),
        (valid | ~has_mass).to(cost.dtype),
        (valid & has_mass).to(cost.dtype),
    )
    return problem, wide if bool(wide.any()) else None


def _bounds(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest cost of every pair, and how much higher its highest is."""
    lowest = matrix.amin(dim=(1, 2))
    return lowest, matrix.amax(dim=(1, 2)) - lowest


def _fill_padding(matrix: Tensor, valid: Tensor) -> Tensor:
    """Give columns that are not valid their pair's lowest cost."""
    lowest = matrix.masked_fill(~valid.mT, torch.inf).amin(dim=(1, 2), keepdim=True)
    return matrix.where(valid.mT, lowest.where(valid.any(dim=2, keepdim=True), 0))


def _merge(wide: Tensor, grad_narrow: tuple[Tensor, ...], grad_wide: tuple[Tensor, ...]) -> list[Tensor]:
    merged = []
    for narrow_result, wide_result in zip(grad_narrow, grad_wide, strict=True):
        result = narrow_result.new_empty(len(wide), *narrow_result.shape[1:])
        result[~wide], result[wide] = narrow_result, wide_result
        merged.append(result)
    return merged


def _restore(tensor: Tensor, columns: int, dim: int) -> Tensor:
    """The tensor with zeros along `dim` for the columns that were left out."""
    left_out = columns - tensor.shape[dim]
    if not left_out:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = left_out
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def _take_kernel(problem: _Problem, epsilon: float) -> Tensor:
    """K, in the place of the shifted costs, which are gone."""
    # torch's exp2 is three times as fast as its exp.
    return problem.shifted.mul_(_LOG2_E / epsilon).exp2_()


def _solve_kernel(problem: _Problem, epsilon: float, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    kernel = _take_kernel(problem, epsilon)
    transposed = kernel.mT
    column_scale = problem.start
    row_shares, column_shares = [], []
    for _ in range(iterations):
        row_shares.append(torch.bmm(column_scale, kernel).reciprocal_())
        row_scale = problem.row_mass * row_shares[-1]
        column_shares.append(torch.bmm(row_scale, transposed).reciprocal_())
        column_scale = problem.column_mass * column_shares[-1]
    plan = kernel.mul_(row_scale).mul_((column_scale * problem.mask).mT)
    return plan, torch.cat(row_shares, dim=1), torch.cat(column_shares, dim=1)


def _differentiate_kernel(
    problem: _Problem, epsilon: float, gradient: Tensor, row_shares: Tensor, column_shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kernel = _take_kernel(problem, epsilon)
    transposed = kernel.mT
    row_scales, column_scales = problem.row_mass * row_shares, problem.column_mass * column_shares
    started = torch.cat([problem.start, column_scales[:, :-1]], dim=1)  # the v that each iteration began with
    last_row_scale, last_column_scale = row_scales[:, -1:], column_scales[:, -1:] * problem.mask
    weighted = gradient * kernel
    grad_row_scale = torch.bmm(last_column_scale, weighted)
    grad_column_scale = torch.bmm(last_row_scale, weighted.mT) * problem.mask
    # Of the totals K v and K.T u. The kernel's gradient is the sum of their outer products with v and u.
    grad_row_totals, grad_column_totals = [], []
    grad_row_mass, grad_column_mass = torch.zeros_like(grad_row_scale), torch.zeros_like(grad_column_scale)
    for t in reversed(range(row_shares.shape[1])):
        row_share, column_share = row_shares[:, t : t + 1], column_shares[:, t : t + 1]
        grad_column_mass += grad_column_scale * column_share
        grad_column_totals.append(grad_column_scale * column_scales[:, t : t + 1] * -column_share)
        grad_row_scale = torch.baddbmm(grad_row_scale, grad_column_totals[-1], kernel)
        grad_row_mass += grad_row_scale * row_share
        grad_row_totals.append(grad_row_scale * row_scales[:, t : t + 1] * -row_share)
        grad_column_scale = torch.bmm(grad_row_totals[-1], transposed)
        grad_row_scale = torch.zeros_like(grad_row_scale)
    grad_row_total, grad_column_total = (
        torch.cat(grad_row_totals[::-1], 1),
        torch.cat(grad_column_totals[::-1], 1),
    )
    grad_kernel = torch.bmm(
        torch.cat([grad_column_total, started], 1).mT, torch.cat([row_scales, grad_row_total], 1)
    )
    grad_kernel.mul_(kernel).add_(weighted.mul_(last_row_scale).mul_(last_column_scale.mT))
    return grad_kernel.mul_(-1 / epsilon), grad_row_mass, grad_column_mass * problem.mask


def _solve_log(problem: _Problem, epsilon: float, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    exponent = problem.shifted / epsilon
    log_row_mass, log_column_mass, column_scale = (
        mass.log() for mass in (problem.row_mass, problem.column_mass, problem.start)
    )
    row_shares, column_shares = [], []
    for _ in range(iterations):
        row_shares.append(-(exponent + column_scale.mT).logsumexp(dim=1, keepdim=True))
        row_scale = log_row_mass + row_shares[-1]
        column_shares.append(-(exponent + row_scale).logsumexp(dim=2, keepdim=True).mT)
        column_scale = log_column_mass + column_shares[-1]
    plan = (exponent + row_scale + column_scale.mT).exp() * problem.mask.mT
    return plan, torch.cat(row_shares, dim=1), torch.cat(column_shares, dim=1)


def _differentiate_log(
    problem: _Problem, epsilon: float, gradient: Tensor, row_shares: Tensor, column_shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _, row_mass, column_mass, start, mask = problem
    exponent = problem.shifted / epsilon

    def links(row_share: Tensor, column_share: Tensor) -> Tensor:
        """K scaled by a share of each side: plan entries per mass of both."""
        return (exponent + row_share + column_share.mT).exp_().clamp_(max=LARGEST_LINK)

    # Gradients by a scale are kept per mass: they are what the masses get. A scale itself could overflow.
    weighted = gradient * links(row_shares[:, -1:], column_shares[:, -1:]) * mask.mT
    grad_rows = (weighted * column_mass.mT).sum(dim=1, keepdim=True)
    grad_columns = (weighted * row_mass).sum(dim=2, keepdim=True).mT
    grad_exponent = weighted * row_mass * column_mass.mT
    grad_row_mass, grad_column_mass = torch.zeros_like(grad_rows), torch.zeros_like(grad_columns)
    for t in reversed(range(row_shares.shape[1])):
        row_share, column_share = row_shares[:, t : t + 1], column_shares[:, t : t + 1]
        grad_column_mass += grad_columns
        moved = links(row_share, column_share) * (column_mass * grad_columns).mT
        grad_rows = grad_rows - moved.sum(dim=1, keepdim=True)
        grad_exponent -= moved * row_mass
        grad_row_mass += grad_rows
        # The v that the iteration began with: that of the one before, or the start.
        began = column_mass if t else start
        column_share = column_shares[:, t - 1 : t] if t else torch.zeros_like(start)
        moved = links(row_share, column_share) * (row_mass * grad_rows)
        grad_columns = -moved.sum(dim=2, keepdim=True).mT
        grad_exponent -= moved * began.mT
        grad_rows = torch.zeros_like(grad_rows)
    return grad_exponent / -epsilon, grad_row_mass, grad_column_mass * mask
