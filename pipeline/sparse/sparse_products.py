"""`Z @ table`, `Z.T @ rows` and their kin for sparse codes, as operators of torch that run Triton kernels.

The eager twins, which decide what is computed, are in `pipeline.sparse.codes`. These take float32 and bfloat16 in
any mixture, add in float32, and return the wider of the inputs' types. They have no gradient of their own:
the autograd functions around the twins call either.
"""

# ruff: noqa: PLC0415 - Triton may be missing; only running a kernel imports it.
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def gather_sum(
    values: Float[Tensor, "token k"], indices: Int64[Tensor, "token k"], table: Float[Tensor, "row channel"]
) -> Float[Tensor, "token channel"]:
    """`Z @ table`: for every token the sum of its k rows of `table`, each times its value."""
    return cast(Tensor, _gather_sum(values, indices, table))


def sampled_dot(
    table: Float[Tensor, "row channel"],
    indices: Int64[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
) -> Float[Tensor, "token k"]:
    """`rows @ table.T` at the k columns that each token names, and nowhere else."""
    return cast(Tensor, _sampled_dot(table, indices, rows))


def scatter_sum(
    values: Float[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
    entry: Int64[Tensor, " token_k"],
    starts: Int64[Tensor, " latent"],
) -> Float[Tensor, "latent channel"]:
    """`Z.T @ rows`: for every latent the sum of the rows that fire it, added in the same order on every run.

    Args:
        values: of the codes.
        rows: one for each token.
        entry: places `token * k + place` among the flattened entries, sorted by the latent that they name.
        starts: where in `entry` each latent's begin. One sort serves all scatters by the same indices.
    """
    return cast(Tensor, _scatter_sum(values, rows, entry, starts))


@torch.library.custom_op("concord::gather_sum", mutates_args=())
def _gather_sum(values: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    from pipeline.sparse import sparse_triton

    out = _new(values, table, shape=(len(values), table.shape[1]))
    if out.numel():
        sparse_triton.gather_sum(values.contiguous(), indices.contiguous(), table.contiguous(), out)
    return out


@_gather_sum.register_fake
def _(values: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    return _new(values, table, shape=(values.shape[0], table.shape[1]))


@torch.library.custom_op("concord::sampled_dot", mutates_args=())
def _sampled_dot(table: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    from pipeline.sparse import sparse_triton

    out = _new(table, rows, shape=tuple(indices.shape))
    if out.numel():
        sparse_triton.sampled_dot(table.contiguous(), indices.contiguous(), rows.contiguous(), out)
    return out


@_sampled_dot.register_fake
def _(table: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    return _new(table, rows, shape=tuple(indices.shape))


@torch.library.custom_op("concord::scatter_sum", mutates_args=())
def _scatter_sum(values: Tensor, rows: Tensor, entry: Tensor, starts: Tensor) -> Tensor:
    from pipeline.sparse import sparse_triton

    out = _new(values, rows, shape=(len(starts), rows.shape[1]))
    if out.numel():
        sparse_triton.scatter_sum(
            values.contiguous(), rows.contiguous(), entry.contiguous(), starts.contiguous(), out
        )
    return out


@_scatter_sum.register_fake
def _(values: Tensor, rows: Tensor, entry: Tensor, starts: Tensor) -> Tensor:
    return _new(values, rows, shape=(starts.shape[0], rows.shape[1]))


def _new(*inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uninitialised, of the widest type of the inputs: float32 unless all of them are bfloat16."""
    dtype = torch.bfloat16 if all(tensor.dtype == torch.bfloat16 for tensor in inputs) else torch.float32
    return inputs[0].new_empty(shape, dtype=dtype)
