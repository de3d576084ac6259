"""Top-K of every group of latents: the largest scores and their columns, the lowest column first among equals.

One operator of torch, without a gradient: on a CPU the functions below, on a GPU the kernel
of `top_k_triton` where it can run.
"""

# ruff: noqa: PLC0415 - Triton may be missing; only a kernel's launch imports it.
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.sparse.availability import runs_on_triton
from pipeline.sparse.operator import define_operator

WIDEST_GROUP = 1 << 15
"""Most latents of a group on a GPU: a program holds all their scores in registers."""

LARGEST_K = 1 << 10
"""Largest k of a group there: so many entries a program sorts at once."""

_BUNDLE = 8
"""Columns that `_select` ranks by their maximum before it looks at them singly."""


class Group(NamedTuple):
    """A range of latents with a Top-K budget of its own."""

    start: int
    stop: int
    k: int


def top_k(
    scores: Float[Tensor, "token latent"], groups: Sequence[Group]
) -> tuple[Float[Tensor, "token kept"], Int64[Tensor, "token kept"]]:
    """Keep the k largest scores of every group of every row; returns them and their columns, group after group.

    Of equals at the k-th place the lowest columns are kept; the order within a group is left open. NaN counts as the
    largest, as in `torch.topk`, so that it reaches the loss and is seen there.

    Args:
        groups: each with 0 < k <= stop - start.
    """
    starts, stops, budgets = zip(*groups, strict=True)
    return cast(tuple[Tensor, Tensor], _TOP_K(scores, starts, stops, budgets))


def fits_kernel(groups: Sequence[Group]) -> bool:
    """Tell whether the kernel takes groups of this width and budget."""
    return all(group.stop - group.start <= WIDEST_GROUP and group.k <= LARGEST_K for group in groups)


def _top_k(
    scores: Tensor, starts: Sequence[int], stops: Sequence[int], budgets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    groups = [Group(*bounds) for bounds in zip(starts, stops, budgets, strict=True)]
    if runs_on_triton(scores) and fits_kernel(groups):
        from pipeline.sparse import top_k_triton

        return top_k_triton.top_k(scores, groups)
    picked = [_top_k_of_all(scores[:, group.start : group.stop], group.k) for group in groups]
    columns = [indices + group.start for (_, indices), group in zip(picked, groups, strict=True)]
    return torch.cat([values for values, _ in picked], dim=1), torch.cat(columns, dim=1)


def _top_k_of_all(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top-K of one group.

    The selection leaves the choice among equals open, so one score more is taken: only where it equals the
    k-th does the row need a stable sort.
    """
    if k == scores.shape[1]:
        return scores.sort(dim=1, descending=True, stable=True)
    values, indices = _select(scores, k + 1)
    tied = values[:, k - 1] == values[:, k]
    if tied.any():
        stable_values, stable_indices = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], indices[tied] = stable_values[:, : k + 1], stable_indices[:, : k + 1]
    return values[:, :k], indices[:, :k]


def _select(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Any k largest of every row, in falling order.

    On a CPU `torch.topk` takes some ten nanoseconds for each score. So the columns are dealt into bundles of
    `_BUNDLE` first, whose maxima are cheap: the k largest scores lie in the k bundles with the largest maxima.
    """
    width = scores.shape[1]
    bundles = width // _BUNDLE
    if scores.device.type != "cpu" or width % _BUNDLE or bundles < k:
        return scores.topk(k, dim=1)
    layers = scores.view(len(scores), _BUNDLE, bundles)  # column = layer * bundles + bundle
    best = layers.amax(dim=1).topk(k, dim=1, sorted=False).indices
    candidates = layers.gather(2, best[:, None, :].expand(-1, _BUNDLE, -1)).flatten(1)
    values, place = candidates.topk(k, dim=1)
    return values, place // k * bundles + best.gather(1, place % k)


def _empty_top_k(
    scores: Tensor, starts: Sequence[int], stops: Sequence[int], budgets: Sequence[int]
) -> tuple[Tensor, Tensor]:
    shape = scores.shape[0], sum(budgets)
    return scores.new_empty(shape), scores.new_empty(shape, dtype=torch.int64)


_TOP_K = define_operator(
    "top_k",
    "(Tensor scores, int[] starts, int[] stops, int[] budgets) -> (Tensor, Tensor)",
    _top_k,
    _empty_top_k,
)
