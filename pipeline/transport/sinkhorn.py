"""Entropic optimal transport by Sinkhorn's iteration: batched, masked, differentiable.

LUCID (arXiv 2602.07311) theorem 3.1 and corollary A.2: `P = diag(u) K diag(v)` with `K = exp(-C / epsilon)`,
starting from `v = 1` and alternating `u = r / (K v)`, `v = c / (K.T u)`. That order is part of the meaning:
after a finite number of iterations the columns sum exactly to c, the rows only nearly to r.

Both directions are operators of torch, `concord::sinkhorn` and `concord::sinkhorn_backward`: on a CPU
they are the functions of `sinkhorn_eager`, on a GPU the fused kernels of `sinkhorn_triton` where those can run.
"""

# ruff: noqa: PLC0415 - Triton may be missing; only a kernel's launch imports it.
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.sparse.availability import triton_reason
from pipeline.sparse.operator import define_operator
from pipeline.transport import sinkhorn_eager


def sinkhorn(
    cost: Float[Tensor, "pair row column"],
    valid: Bool[Tensor, "pair column"],
    row_mass: Float[Tensor, "pair row"],
    column_mass: Float[Tensor, "pair column"],
    epsilon: float,
    iterations: int,
) -> Float[Tensor, "pair row column"]:
    """Compute the plan after exactly `iterations` iterations, in float32 or better.

    Every pair is iterated as if its matrix held the valid columns only; the others are exactly 0 in the plan,
    whatever finite cost and mass they carry. A pair without valid columns, or without any mass on a side, gets
    a plan of zeros. A pair whose costs are too far apart for `exp(-C / epsilon)` is iterated on logarithms.

    The gradient is that of the finite iteration, exactly; detach the arguments to treat the plan as constant.
    Nothing but the arguments and two vectors per iteration is kept for it. It cannot be differentiated again.
    """
    dtype = torch.promote_types(cost.dtype, torch.float32)
    row_mass, column_mass = row_mass.to(dtype), column_mass.to(dtype)
    return cast(Tensor, _SINKHORN(cost.to(dtype), valid, row_mass, column_mass, epsilon, iterations)[0])


def _solve(
    cost: Tensor, valid: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    if _runs_on_triton(cost):
        from pipeline.transport import sinkhorn_triton

        return sinkhorn_triton.solve(cost, valid, row_mass, column_mass, epsilon, iterations)
    with _full_precision(cost.device):
        return sinkhorn_eager.solve(cost, valid, row_mass, column_mass, epsilon, iterations)


def _differentiate(
    gradient: Tensor,
    cost: Tensor,
    valid: Tensor,
    row_mass: Tensor,
    column_mass: Tensor,
    row_shares: Tensor,
    column_shares: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    if _runs_on_triton(cost):
        from pipeline.transport import sinkhorn_triton

        return sinkhorn_triton.differentiate(
            gradient, cost, valid, row_mass, column_mass, row_shares, column_shares, epsilon
        )
    with _full_precision(cost.device):
        return sinkhorn_eager.differentiate(
            gradient, cost, valid, row_mass, column_mass, row_shares, column_shares, epsilon
        )


def _empty_plan(
    cost: Tensor, valid: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    pairs, rows, columns = cost.shape
    return (
        cost.new_empty(pairs, columns, rows).mT,
        cost.new_empty(pairs, iterations, rows),
        cost.new_empty(pairs, iterations, columns),
    )


def _empty_gradient(
    gradient: Tensor,
    cost: Tensor,
    valid: Tensor,
    row_mass: Tensor,
    column_mass: Tensor,
    row_shares: Tensor,
    column_shares: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return cost.new_empty(cost.shape), cost.new_empty(row_mass.shape), cost.new_empty(column_mass.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    cost, valid, row_mass, column_mass, ctx.epsilon, _ = inputs
    ctx.save_for_backward(cost, valid, row_mass, column_mass, *output[1:])


def _backward(
    ctx: Any, grad_plan: Tensor, _grad_rows: Tensor, _grad_columns: Tensor
) -> tuple[Tensor | None, ...]:
    cost, row_mass, column_mass = _SINKHORN_BACKWARD(grad_plan, *ctx.saved_tensors, ctx.epsilon)
    return cost, None, row_mass, column_mass, None, None


def _runs_on_triton(cost: Tensor) -> bool:
    """Tell whether the kernels take these costs; the gradient's answer is that of the plan."""
    if triton_reason(cost.device) is not None:
        return False
    from pipeline.transport import sinkhorn_triton

    return sinkhorn_triton.fits(cost)


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off; entered only where it is on, because entering costs as much as two iterations."""
    on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


_SINKHORN = define_operator(
    "sinkhorn",
    "(Tensor cost, Tensor valid, Tensor row_mass, Tensor column_mass, float epsilon, int iterations)"
    " -> (Tensor, Tensor, Tensor)",
    _solve,
    _empty_plan,
    _backward,
    _keep_for_backward,
)
_SINKHORN_BACKWARD = define_operator(
    "sinkhorn_backward",
    "(Tensor gradient, Tensor cost, Tensor valid, Tensor row_mass, Tensor column_mass, Tensor row_shares,"
    " Tensor column_shares, float epsilon) -> (Tensor, Tensor, Tensor)",
    _differentiate,
    _empty_gradient,
)
