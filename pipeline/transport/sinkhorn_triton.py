"""Sinkhorn's iteration and its gradient as fused GPU kernels: one program per pair.

The same functions as `sinkhorn_eager.solve` and `.differentiate`, half step by half step. A program holds the whole
kernel matrix of its pair in registers, so the cost is read once and the plan written once, and decides by itself
whether its pair needs the log domain: nothing waits for the device, and a CUDA graph can hold both.

Places of a tile outside the pair's matrix hold K = 1, and there start and masses are 0: nothing divides by 0.
"""

# Triton has no types: its functions are typed by what they are launched with, constants named in capitals.
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator, no-untyped-call"
# ruff: noqa: N803

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.transport.sinkhorn_eager import KERNEL_RANGE, LARGEST_LINK

LARGEST_TILE = 1 << 14
"""Entries of the largest matrix a program holds, sides rounded up to powers of two: 256 patches and 64 tokens."""

_RANGE = tl.constexpr(KERNEL_RANGE)
_LARGEST_LINK = tl.constexpr(LARGEST_LINK)
_ENTRIES_PER_THREAD = 16
_NARROWEST = 16


def fits(cost: Tensor) -> bool:
    """Tell whether the kernels take costs of this shape and type."""
    rows, columns = _tile(cost)
    return cost.dtype == torch.float32 and 0 < rows * columns <= LARGEST_TILE


def solve(
    cost: Tensor, valid: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the kernel of `sinkhorn_eager.solve`."""
    pairs, rows, columns = cost.shape
    plan = cost.new_empty(pairs, columns, rows).mT
    row_shares = cost.new_empty(pairs, iterations, rows)
    column_shares = cost.new_empty(pairs, iterations, columns)
    tile = _tile(cost)
    if pairs:
        _solve_kernel[(pairs,)](
            cost,
            valid.contiguous().view(torch.uint8),
            row_mass.contiguous(),
            column_mass.contiguous(),
            plan,
            row_shares,
            column_shares,
            rows,
            columns,
            *cost.stride(),
            *plan.stride(),
            epsilon,
            iterations,
            ROWS=tile[0],
            COLUMNS=tile[1],
            num_warps=_warps(tile),
        )
    return plan, row_shares, column_shares


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
    """Launch the kernel of `sinkhorn_eager.differentiate`."""
    pairs, rows, columns = cost.shape
    grad_cost = cost.new_empty(cost.shape)
    grad_row_mass, grad_column_mass = cost.new_empty(pairs, rows), cost.new_empty(pairs, columns)
    tile = _tile(cost)
    if pairs:
        _differentiate_kernel[(pairs,)](
            gradient,
            cost,
            valid.contiguous().view(torch.uint8),
            row_mass.contiguous(),
            column_mass.contiguous(),
            row_shares,
            column_shares,
            grad_cost,
            grad_row_mass,
            grad_column_mass,
            rows,
            columns,
            *gradient.stride(),
            *cost.stride(),
            *grad_cost.stride(),
            epsilon,
            row_shares.shape[1],
            ROWS=tile[0],
            COLUMNS=tile[1],
            num_warps=_warps(tile),
        )
    return grad_cost, grad_row_mass, grad_column_mass


def _tile(cost: Tensor) -> tuple[int, int]:
    rows, columns = (triton.next_power_of_2(size) for size in cost.shape[1:])
    return rows, max(_NARROWEST, columns)


def _warps(tile: tuple[int, int]) -> int:
    return max(1, min(32, tile[0] * tile[1] // (32 * _ENTRIES_PER_THREAD)))


@triton.jit
def _load_matrix(matrix, pair, row, column, stride_pair, stride_row, stride_column, inside):
    places = row[:, None] * stride_row + column[None, :] * stride_column
    return tl.load(matrix + pair * stride_pair + places, inside, 0.0)


@triton.jit
def _store_matrix(matrix, values, pair, row, column, stride_pair, stride_row, stride_column, inside):
    places = row[:, None] * stride_row + column[None, :] * stride_column
    tl.store(matrix + pair * stride_pair + places, values, inside)


@triton.jit
def _load_problem(
    cost,
    valid,
    row_mass,
    column_mass,
    pair,
    row,
    column,
    rows,
    columns,
    stride_pair,
    stride_row,
    stride_column,
):
    # As `_prepare` of the eager twin: pairs without mass are replaced by ones of mass 1 everywhere.
    in_rows, in_columns = row < rows, column < columns
    is_valid = tl.load(valid + pair * columns + column, in_columns, 0) != 0
    r = tl.load(row_mass + pair * rows + row, in_rows, 0.0)
    c = tl.where(is_valid, tl.load(column_mass + pair * columns + column, in_columns, 0.0), 0.0)
    has_mass = (tl.sum(r, axis=0) != 0) & (tl.sum(c, axis=0) != 0)
    inside = in_rows[:, None] & in_columns[None, :]
    matrix = _load_matrix(cost, pair, row, column, stride_pair, stride_row, stride_column, inside)
    meant = in_rows[:, None] & is_valid[None, :]
    infinity = float("inf")
    lowest = tl.min(tl.min(tl.where(meant, matrix, infinity), axis=1), axis=0)
    highest = tl.max(tl.max(tl.where(meant, matrix, -infinity), axis=1), axis=0)
    shifted = tl.where(meant, lowest - matrix, 0.0)
    r = tl.where(has_mass, r, in_rows.to(tl.float32))
    c = tl.where(has_mass, c, in_columns.to(tl.float32))
    start = tl.where(has_mass, is_valid, in_columns).to(tl.float32)
    mask = tl.where(has_mass, is_valid.to(tl.float32), 0.0)
    return shifted, highest - lowest, r, c, start, mask, inside


@triton.jit
def _log_total(exponent, axis: tl.constexpr):
    """`log(sum(exp))`; every row and column holds a number that is not -inf."""
    largest = tl.max(exponent, axis=axis)
    return largest + tl.log(tl.sum(tl.exp(exponent - tl.expand_dims(largest, axis)), axis=axis))


@triton.jit
def _solve_kernel(
    cost,
    valid,
    row_mass,
    column_mass,
    plan,
    row_shares,
    column_shares,
    rows,
    columns,
    cost_pair,
    cost_row,
    cost_column,
    plan_pair,
    plan_row,
    plan_column,
    epsilon,
    iterations,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    shifted, width, r, c, start, mask, inside = _load_problem(
        cost, valid, row_mass, column_mass, pair, row, column, rows, columns, cost_pair, cost_row, cost_column
    )
    to_row_share = row_shares + pair * iterations * rows + row
    to_column_share = column_shares + pair * iterations * columns + column
    exponent = shifted / epsilon
    if width > _RANGE * epsilon:
        log_r, log_c = tl.log(r), tl.log(c)
        u, v = log_r, tl.log(start)
        for t in range(iterations):
            row_share = -_log_total(exponent + v[None, :], 1)
            u = log_r + row_share
            column_share = -_log_total(exponent + u[:, None], 0)
            v = log_c + column_share
            tl.store(to_row_share + t * rows, row_share, row < rows)
            tl.store(to_column_share + t * columns, column_share, column < columns)
        values = tl.exp(exponent + u[:, None] + v[None, :])
    else:
        kernel = tl.exp(exponent)
        u, v = r, start
        for t in range(iterations):
            row_share = 1.0 / tl.sum(kernel * v[None, :], axis=1)
            u = r * row_share
            column_share = 1.0 / tl.sum(kernel * u[:, None], axis=0)
            v = c * column_share
            tl.store(to_row_share + t * rows, row_share, row < rows)
            tl.store(to_column_share + t * columns, column_share, column < columns)
        values = kernel * u[:, None] * v[None, :]
    values = values * mask[None, :]
    _store_matrix(plan, values, pair, row, column, plan_pair, plan_row, plan_column, inside)


@triton.jit
def _links(matrix, row_share, column_share, wide):
    """K scaled by a share of each side: plan entries per mass of both, finite where a mass is 0 too."""
    if wide:
        links = tl.exp(matrix + row_share[:, None] + column_share[None, :])
    else:
        links = matrix * row_share[:, None] * column_share[None, :]
    return tl.minimum(links, _LARGEST_LINK, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _differentiate_kernel(
    gradient,
    cost,
    valid,
    row_mass,
    column_mass,
    row_shares,
    column_shares,
    grad_cost,
    grad_row_mass,
    grad_column_mass,
    rows,
    columns,
    gradient_pair,
    gradient_row,
    gradient_column,
    cost_pair,
    cost_row,
    cost_column,
    grad_cost_pair,
    grad_cost_row,
    grad_cost_column,
    epsilon,
    iterations,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    # All gradients by a scale are kept per mass: x and y are those of the masses of rows and columns.
    pair = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    shifted, width, r, c, start, mask, inside = _load_problem(
        cost, valid, row_mass, column_mass, pair, row, column, rows, columns, cost_pair, cost_row, cost_column
    )
    wide = width > _RANGE * epsilon
    exponent = shifted / epsilon
    if wide:
        matrix, none, one = exponent, -float("inf"), 0.0
    else:
        matrix, none, one = tl.exp(exponent), 0.0, 1.0
    from_row_share = row_shares + pair * iterations * rows + row
    from_column_share = column_shares + pair * iterations * columns + column

    last = iterations - 1
    row_share = tl.load(from_row_share + last * rows, row < rows, none)
    column_share = tl.load(from_column_share + last * columns, column < columns, none)
    grad_plan = _load_matrix(
        gradient, pair, row, column, gradient_pair, gradient_row, gradient_column, inside
    )
    weighted = grad_plan * _links(matrix, row_share, column_share, wide) * mask[None, :]
    x, y = tl.sum(weighted * c[None, :], axis=1), tl.sum(weighted * r[:, None], axis=0)
    grad_exponent = weighted * r[:, None] * c[None, :]
    grad_r, grad_c = tl.zeros_like(x), tl.zeros_like(y)
    for back in range(iterations):
        t = last - back
        grad_c += y
        moved = _links(matrix, row_share, column_share, wide) * (c * y)[None, :]
        x -= tl.sum(moved, axis=1)
        grad_exponent -= moved * r[:, None]
        grad_r += x
        # The v that the iteration began with: that of the one before, or the start.
        before = tl.maximum(t - 1, 0)
        column_share = tl.load(from_column_share + before * columns, column < columns, none)
        column_share = tl.where(t > 0, column_share, one)
        began = tl.where(t > 0, c, start)
        moved = _links(matrix, row_share, column_share, wide) * (r * x)[:, None]
        y = -tl.sum(moved, axis=0)
        grad_exponent -= moved * began[None, :]
        x = tl.zeros_like(x)
        row_share = tl.load(from_row_share + before * rows, row < rows, none)
    tl.store(grad_row_mass + pair * rows + row, grad_r, row < rows)
    tl.store(grad_column_mass + pair * columns + column, grad_c * mask, column < columns)
    values = grad_exponent / -epsilon
    _store_matrix(
        grad_cost, values, pair, row, column, grad_cost_pair, grad_cost_row, grad_cost_column, inside
    )
