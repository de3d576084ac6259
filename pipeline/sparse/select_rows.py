"""Some rows of a table, with a gradient that touches no others."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.sparse.availability import runs_on_triton


def select_rows(
    table: Float[Tensor, "row channel"], rows: Int64[Tensor, " selected"]
) -> Float[Tensor, "selected channel"]:
    """Take `table[rows]` for distinct, ascending rows, with a sparse gradient.

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
        grad_table = torch.sparse_coo_tensor(
            rows[None], gradient, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return grad_table, None
