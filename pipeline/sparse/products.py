"""The products of sparse codes: `Z @ table`, `Z.T @ rows`, and `rows @ table.T` at the entries of Z alone.

A code matrix Z [token, latent] is held as its k values and column numbers per token and is never written out densely.
Decoding is `Z @ decoder`; the gradient of a weight is `Z.T @ activations`; the inner products of patch codes with text
codes are `Z @ text_codes.T`.

Each product is one operator of torch, with its gradient: on a CPU the function below, on a GPU the kernel of
`products_triton` where that can run. The kernels take float32 and bfloat16 in any mixture and add in float32.
"""

# ruff: noqa: PLC0415 - Triton may be missing; only a kernel's launch imports it.
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from pipeline.sparse.availability import runs_on_triton
from pipeline.sparse.operator import define_operator


class LatentOrder(NamedTuple):
    """The entries of some codes sorted by latent, entries of one latent by token: what `Z.T` is read by."""

    entry: Int64[Tensor, " token_k"]
    """Place among the flattened entries [token * k]."""
    token: Int64[Tensor, " token_k"]
    starts: Int64[Tensor, " latent"]
    """Where each latent's entries begin."""


def order_by_latent(indices: Int64[Tensor, "token k"], height: int) -> LatentOrder:
    """Sort the entries of codes over latents 0 .. height - 1, once for all products of the same `indices`."""
    latent, entry = torch.sort(indices.flatten().int(), stable=True)
    # Not counted: a GPU would have to be waited for, since `bincount` looks for the largest first.
    starts = torch.searchsorted(latent, torch.arange(height, dtype=latent.dtype, device=latent.device))
    return LatentOrder(entry, entry // indices.shape[1], starts)


def gather_sum(
    values: Float[Tensor, "token k"], indices: Int64[Tensor, "token k"], table: Float[Tensor, "row channel"]
) -> Float[Tensor, "token channel"]:
    """Compute `Z @ table`: for every token the sum of its k rows of `table`, each times its value. Differentiable."""
    return cast(Tensor, _GATHER_SUM(values, indices, table))


def scatter_sum(
    values: Float[Tensor, "token k"],
    indices: Int64[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
    height: int,
    order: LatentOrder | None = None,
) -> Float[Tensor, "{height} channel"]:
    """Compute `Z.T @ rows`: for every one of `height` latents the sum of the rows that fire it. Differentiable.

    `order` is that of the indices, where it is known already.
    """
    order = order or order_by_latent(indices, height)
    return cast(Tensor, _SCATTER_SUM(values, indices, rows, *order))


def sum_by_latent(
    values: Float[Tensor, "token k"],
    indices: Int64[Tensor, "token k"],
    height: int,
    order: LatentOrder,
) -> Float[Tensor, " {height}"]:
    """Compute `Z.T @ 1`: the sum of the values of every latent. Has no gradient of its own."""
    if runs_on_triton(values):
        return scatter_sum(values, indices, values.new_ones(len(values), 1), height, order)[:, 0]
    return torch.bincount(indices.flatten(), values.flatten(), height).to(values.dtype)


def sampled_dot(
    table: Float[Tensor, "row channel"],
    indices: Int64[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
    order: LatentOrder | None = None,
) -> Float[Tensor, "token k"]:
    """Compute `rows @ table.T` at the k columns that each token names, and nowhere else. Has no gradient of its own.

    `order` is that of the indices, where it is known already. With it a CPU reads a table that is larger than `rows`
    once, from front to back, and comes back to the rows instead: the same bits in a third of the time.
    """
    return cast(Tensor, _SAMPLED_DOT(table, indices, rows, *(order or (None, None, None))))


def _gather_sum(values: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    if runs_on_triton(values, table):
        from pipeline.sparse import products_triton

        return products_triton.gather_sum(values, indices, table)
    return F.embedding_bag(indices, table, per_sample_weights=values, mode="sum")


def _scatter_sum(values: Tensor, indices: Tensor, rows: Tensor, *order: Tensor) -> Tensor:
    entry, token, starts = order
    # Sorting the entries by latent turns the scatter into a gather, which needs no atomics: faster than
    # `index_add_` on a CPU, and the same sum in the same order on every run.
    if runs_on_triton(values, rows):
        from pipeline.sparse import products_triton

        return products_triton.scatter_sum(values, rows, entry, starts)
    weights = values.flatten().index_select(0, entry)
    return F.embedding_bag(token, rows, starts, per_sample_weights=weights, mode="sum")


def _sampled_dot(table: Tensor, indices: Tensor, rows: Tensor, *order: Tensor | None) -> Tensor:
    entry, token, starts = order
    if runs_on_triton(table, rows):
        from pipeline.sparse import products_triton

        return products_triton.sampled_dot(table, indices, rows)
    tokens, k = indices.shape
    if entry is None or token is None or starts is None or len(table) <= tokens:
        bag = torch.arange(tokens, device=indices.device)
        product = _dots_within_bags(rows, table, indices.flatten(), bag * k, bag.repeat_interleave(k))
        return product.view(tokens, k)
    entries_of_latent = torch.diff(starts, append=starts.new_tensor([tokens * k]))
    latent = torch.arange(len(table), device=indices.device)
    latent = latent.repeat_interleave(entries_of_latent, output_size=tokens * k)
    product = _dots_within_bags(table, rows, token, starts, latent)
    return torch.empty_like(product).index_copy_(0, entry, product).view(tokens, k)


def _dots_within_bags(
    rows_of_bags: Float[Tensor, "bag channel"],
    members: Float[Tensor, "member channel"],
    indices: Int64[Tensor, " entry"],
    starts: Int64[Tensor, " bag"],
    bag: Int64[Tensor, " entry"],
) -> Float[Tensor, " entry"]:
    """Multiply every entry's member with its bag's row.

    The gradient of `embedding_bag` by its weights is this, and torch's only fused form of it: gathering the rows first
    writes [entry, channel].
    """
    backward = torch.ops.aten._embedding_bag_per_sample_weights_backward
    # Flattening a column of wider codes, the shared part of one latent per token, leaves its stride in place.
    contiguous = (tensor.contiguous() for tensor in (rows_of_bags, members, indices))
    return cast(Tensor, backward(*contiguous, starts, bag, 0))


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def _gather_sum_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    values, indices, table = ctx.saved_tensors
    need_values, _, need_table = ctx.needs_input_grad
    order = order_by_latent(indices, len(table)) if need_table else None
    grad_values = sampled_dot(table, indices, gradient, order) if need_values else None
    grad_table = scatter_sum(values, indices, gradient, len(table), order) if need_table else None
    return grad_values, None, grad_table


def _scatter_sum_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    values, indices, rows = ctx.saved_tensors
    need_values, _, need_rows, *_ = ctx.needs_input_grad
    grad_values = sampled_dot(gradient, indices, rows) if need_values else None
    grad_rows = gather_sum(values, indices, gradient) if need_rows else None
    return grad_values, None, grad_rows, None, None, None


def _empty_gather_sum(values: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    return _empty(values, table, (values.shape[0], table.shape[1]))


def _empty_scatter_sum(values: Tensor, indices: Tensor, rows: Tensor, *order: Tensor) -> Tensor:
    return _empty(values, rows, (order[2].shape[0], rows.shape[1]))


def _empty_sampled_dot(table: Tensor, indices: Tensor, rows: Tensor, *order: Tensor | None) -> Tensor:
    return _empty(table, rows, tuple(indices.shape))


def _empty(one: Tensor, other: Tensor, shape: tuple[int, ...]) -> Tensor:
    return one.new_empty(shape, dtype=torch.promote_types(one.dtype, other.dtype))


_GATHER_SUM = define_operator(
    "gather_sum",
    "(Tensor values, Tensor indices, Tensor table) -> Tensor",
    _gather_sum,
    _empty_gather_sum,
    _gather_sum_backward,
    _keep_inputs,
)
_SCATTER_SUM = define_operator(
    "scatter_sum",
    "(Tensor values, Tensor indices, Tensor rows, Tensor entry, Tensor token, Tensor starts) -> Tensor",
    _scatter_sum,
    _empty_scatter_sum,
    _scatter_sum_backward,
    _keep_inputs,
)
_SAMPLED_DOT = define_operator(
    "sampled_dot",
    "(Tensor table, Tensor indices, Tensor rows, Tensor? entry, Tensor? token, Tensor? starts) -> Tensor",
    _sampled_dot,
    _empty_sampled_dot,
)
