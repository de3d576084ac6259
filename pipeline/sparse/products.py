"""The products of sparse codes on whichever path a device takes, without gradients of their own.

`pipeline.sparse.codes` and `pipeline.sparse.topk` build differentiable functions from them.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from pipeline.sparse import sparse_products
from pipeline.sparse.availability import runs_on_triton


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
    """`Z @ table`: for every token the sum of its k rows of `table`, each times its value."""
    if runs_on_triton(values, table):
        return sparse_products.gather_sum(values, indices, table)
    return F.embedding_bag(indices, table, per_sample_weights=values, mode="sum")


def scatter_sum(
    values: Float[Tensor, "token k"],
    indices: Int64[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
    height: int,
    order: LatentOrder | None = None,
) -> Float[Tensor, "{height} channel"]:
    """`Z.T @ rows`: for every one of `height` latents the sum of the rows that fire it.

    `order` is that of the indices, where it is known already.
    """
    # Sorting the entries by latent turns the scatter into a gather, which needs no atomics: faster than
    # `index_add_` on a CPU, and the same sum in the same order on every run.
    entry, token, starts = order or order_by_latent(indices, height)
    if runs_on_triton(values, rows):
        return sparse_products.scatter_sum(values, rows, entry, starts)
    weights = values.flatten().index_select(0, entry)
    return F.embedding_bag(token, rows, starts, per_sample_weights=weights, mode="sum")


def sum_by_latent(
    values: Float[Tensor, "token k"],
    indices: Int64[Tensor, "token k"],
    height: int,
    order: LatentOrder,
) -> Float[Tensor, " {height}"]:
    """`Z.T @ 1`: the sum of the values of every latent."""
    if runs_on_triton(values):
        ones = values.new_ones(len(values), 1)
        return sparse_products.scatter_sum(values, ones, order.entry, order.starts)[:, 0]
    return torch.bincount(indices.flatten(), values.flatten(), height).to(values.dtype)


def sampled_dot(
    table: Float[Tensor, "row channel"],
    indices: Int64[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
    order: LatentOrder | None = None,
) -> Float[Tensor, "token k"]:
    """`rows @ table.T` at the k columns that each token names, and nowhere else.

    `order` is that of the indices, where it is known already. With it a CPU reads a table that is larger than `rows`
    once, from front to back, and comes back to the rows instead: the same bits in a third of the time.
    """
    if runs_on_triton(table, rows):
        return sparse_products.sampled_dot(table, indices, rows)
    tokens, k = indices.shape
    if order is None or len(table) <= tokens:
        bag = torch.arange(tokens, device=indices.device)
        product = _dots_within_bags(rows, table, indices.flatten(), bag * k, bag.repeat_interleave(k))
        return product.view(tokens, k)
    entries_of_latent = torch.diff(order.starts, append=order.starts.new_tensor([tokens * k]))
    latent = torch.arange(len(table), device=indices.device)
    latent = latent.repeat_interleave(entries_of_latent, output_size=tokens * k)
    product = _dots_within_bags(table, rows, order.token, order.starts, latent)
    return torch.empty_like(product).index_copy_(0, order.entry, product).view(tokens, k)


def _dots_within_bags(
    of_bags: Float[Tensor, "bag channel"],
    members: Float[Tensor, "member channel"],
    indices: Int64[Tensor, " entry"],
    starts: Int64[Tensor, " bag"],
    bag: Int64[Tensor, " entry"],
) -> Float[Tensor, " entry"]:
    """The product of every entry's member with its bag's row.

    The gradient of `embedding_bag` by its weights is this, and torch's only fused form of it: gathering the rows first
    writes [entry, channel].
    """
    backward = torch.ops.aten._embedding_bag_per_sample_weights_backward
    # Flattening a column of wider codes, the shared part of one latent per token, leaves its stride in place.
    contiguous = (tensor.contiguous() for tensor in (of_bags, members, indices))
    return cast(Tensor, backward(*contiguous, starts, bag, 0))
