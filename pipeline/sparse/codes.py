"""Sparse codes, and the two products every part of an SAE is made of: `Z @ table` and `Z.T @ rows`.

A code matrix Z [token, latent] is held as its k values and column numbers per token and is never written
out densely. Decoding is `Z @ decoder`; the gradient of a weight is `Z.T @ activations`; the inner products
of patch codes with text codes are `Z @ text_codes.T`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.sparse import products
from pipeline.sparse.availability import runs_on_triton


class SparseCodes(NamedTuple):
    """The codes of some tokens of one side: for each token k values and the latents they belong to.

    An entry whose value is 0 is inactive, whatever latent it names: with `relu` on, fewer than k latents
    may be active. A token never names the same latent twice with a value other than 0.
    """

    values: Float[Tensor, "token k"]
    indices: Int64[Tensor, "token k"]
    """Columns of the side's joint dictionary: shared latents come first, private ones follow."""

    def shared_only(self, shared_width: int) -> "SparseCodes":
        """The same codes with every private latent (column >= `shared_width`) made inactive."""
        shared = self.indices < shared_width
        return SparseCodes(self.values * shared, self.indices * shared)

    def dense(self, width: int) -> Float[Tensor, "token {width}"]:
        """The codes written out as one column per latent: for looking at a few tokens, not for training."""
        zeros = self.values.new_zeros(len(self.values), width)
        return zeros.scatter_add(1, self.indices, self.values)


def gather_sum(
    values: Float[Tensor, "token k"], indices: Int64[Tensor, "token k"], table: Float[Tensor, "row channel"]
) -> Float[Tensor, "token channel"]:
    """`Z @ table`: for every token the sum of its k rows of `table`, each times its value. Differentiable."""
    return _GatherSum.apply(values, indices, table)  # type: ignore[no-any-return]


def scatter_sum(
    values: Float[Tensor, "token k"],
    indices: Int64[Tensor, "token k"],
    rows: Float[Tensor, "token channel"],
    height: int,
) -> Float[Tensor, "{height} channel"]:
    """`Z.T @ rows`: for every one of `height` latents the sum of the rows that fire it. Differentiable."""
    return _ScatterSum.apply(values, indices, rows, height)  # type: ignore[no-any-return]


def select_rows(
    table: Float[Tensor, "row channel"], rows: Int64[Tensor, " selected"]
) -> Float[Tensor, "selected channel"]:
    """`table[rows]` for distinct, ascending rows, with a sparse gradient.

    Autograd adds a sparse gradient to the dense one of the table's other uses in place, if it comes first (the
    last use in the forward pass), and then touches the selected rows only. Plain indexing writes out and adds
    a second table that is mostly zeros.
    """
    return _SelectRows.apply(table, rows)  # type: ignore[no-any-return]


class _SelectRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, rows):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (rows,) = ctx.saved_tensors
        if runs_on_triton(gradient):  # a GPU writes zeros at no cost worth the handling of sparse tensors
            return gradient.new_zeros(ctx.shape).index_copy_(0, rows, gradient), None
        of_table = torch.sparse_coo_tensor(
            rows[None], gradient, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return of_table, None


class _GatherSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, indices, table):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(values, indices, table)
        return products.gather_sum(values, indices, table)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        values, indices, table = ctx.saved_tensors
        need_values, _, need_table = ctx.needs_input_grad
        order = products.order_by_latent(indices, len(table)) if need_table else None
        of_values = products.sampled_dot(table, indices, gradient, order) if need_values else None
        of_table = products.scatter_sum(values, indices, gradient, len(table), order) if need_table else None
        return of_values, None, of_table


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, indices, rows, height):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(values, indices, rows)
        return products.scatter_sum(values, indices, rows, height)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        values, indices, rows = ctx.saved_tensors
        need_values, _, need_rows, _ = ctx.needs_input_grad
        of_values = products.sampled_dot(gradient, indices, rows) if need_values else None
        of_rows = products.gather_sum(values, indices, gradient) if need_rows else None
        return of_values, None, of_rows, None


def pool_codes(
    codes: SparseCodes, offsets: Int64[Tensor, " pair_plus_1"], width: int
) -> Float[Tensor, "pair {width}"]:
    """Mean code of every pair over latents 0 .. width - 1, dense. A pair without tokens gets 0."""
    counts = offsets.diff()
    pairs = len(counts)
    pair = torch.arange(pairs, device=offsets.device)
    pair = pair.repeat_interleave(counts, output_size=len(codes.values))  # its sum need not be waited for
    total = codes.values.new_zeros(pairs * width)
    total = total.scatter_add(0, ((pair * width)[:, None] + codes.indices).flatten(), codes.values.flatten())
    return total.view(pairs, width) / counts.clamp_min(1)[:, None]
