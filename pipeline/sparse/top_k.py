"""Top-K of every group of latents, as an operator of torch that runs a Triton kernel.

The eager twin, which decides what is computed, is `top_k` of `pipeline.sparse.topk`.
"""

# ruff: noqa: PLC0415 - Triton may be missing; only running a kernel imports it.
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

WIDEST_GROUP = 1 << 15
"""Most latents of a group: a program holds all their scores in registers."""

LARGEST_K = 1 << 10
"""Largest k of a group: so many entries a program sorts at once."""

Bounds = tuple[int, int, int]
"""Start, stop and k of a group of latents."""


def fits_top_k(groups: Sequence[Bounds]) -> bool:
    """Whether the kernel takes groups of this width and budget."""
    return all(stop - start <= WIDEST_GROUP and k <= LARGEST_K for start, stop, k in groups)


def top_k_per_group(
    scores: Float[Tensor, "token latent"], groups: Sequence[Bounds]
) -> tuple[Float[Tensor, "token kept"], Int64[Tensor, "token kept"]]:
    """The k largest scores of every group of every row and their columns in the row, group after group.

    Within a group the largest comes first and of equals the lowest column; of equals at the k-th place too the
    lowest columns are kept. Ranked in float32. NaN counts as the largest, as in `torch.topk`, so that it reaches
    the loss and is seen there. `groups` are what `fits_top_k` accepts, each with 0 < k <= stop - start.
    """
    starts, stops, budgets = zip(*groups, strict=True)
    return cast(tuple[Tensor, Tensor], _top_k(scores, starts, stops, budgets))


@torch.library.custom_op("concord::top_k", mutates_args=())
def _top_k(
    scores: Tensor, starts: Sequence[int], stops: Sequence[int], budgets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    from pipeline.sparse import top_k_triton

    kept = sum(budgets)
    values = scores.new_empty(len(scores), kept)
    indices = scores.new_empty(len(scores), kept, dtype=torch.int64)
    if len(scores):
        groups = list(zip(starts, stops, budgets, strict=True))
        top_k_triton.top_k(scores.contiguous(), groups, values, indices)
    return values, indices


@_top_k.register_fake
def _(
    scores: Tensor, starts: Sequence[int], stops: Sequence[int], budgets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    kept = sum(budgets)
    tokens = scores.shape[0]
    return scores.new_empty(tokens, kept), scores.new_empty(tokens, kept, dtype=torch.int64)
