"""The Top-K encoder: rank pre-activations, keep k per group of latents, and never store the rest."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from pipeline.sae.codes import SparseCodes, gather_sum, scatter_sum

_PRE_ACTIVATIONS_AT_ONCE = 1 << 24
"""Bounds the one dense intermediate, [token, latent], to 64 MiB of fp32."""


class Group(NamedTuple):
    """A range of latents with a Top-K budget of its own."""

    start: int
    stop: int
    k: int


def top_k(
    scores: Float[Tensor, "token latent"], k: int
) -> tuple[Float[Tensor, "token {k}"], Int64[Tensor, "token {k}"]]:
    """The k largest scores of every row and their columns; among equal scores the lowest column wins.

    `torch.topk` leaves the choice among equals open, so one score more is taken: only where it equals the
    k-th does the row need a stable sort.
    """
    if k == scores.shape[1]:
        return scores.sort(dim=1, descending=True, stable=True)
    values, indices = scores.topk(k + 1, dim=1)
    tied = values[:, k - 1] == values[:, k]
    if tied.any():
        stable_values, stable_indices = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], indices[tied] = stable_values[:, : k + 1], stable_indices[:, : k + 1]
    return values[:, :k], indices[:, :k]


def sparse_encode(
    activations: Float[Tensor, "token channel"],
    centre: Float[Tensor, " channel"],
    weight: Float[Tensor, "latent channel"],
    bias: Float[Tensor, " latent"],
    groups: Sequence[Group],
    relu: bool,
) -> SparseCodes:
    """`TopK(relu(weight (activations - centre) + bias))`, each group of latents with its own k (section 2).

    LUCID (arXiv 2602.07311) 3.1.1. The ReLU follows the Top-K: the largest are the same, and where fewer
    than k are positive the rest come out as 0 and pass no gradient.
    Differentiable in everything but the choice of latents; gradients are computed from the k kept entries.
    """
    values, indices = _SparseEncode.apply(activations, centre, weight, bias, tuple(groups), relu)
    return SparseCodes(values, indices)


class _SparseEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, activations, centre, weight, bias, groups, relu):  # type: ignore[no-untyped-def]
        centred = activations - centre
        tokens_at_once = max(1, _PRE_ACTIVATIONS_AT_ONCE // len(weight))
        parts = [_encode(chunk, weight, bias, groups) for chunk in centred.split(tokens_at_once)]
        values = torch.cat([values for values, _ in parts])
        indices = torch.cat([indices for _, indices in parts])
        if relu:
            values = values.relu_()
        ctx.relu = relu
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(centred, weight, values, indices)
        return values, indices

    @staticmethod
    def backward(ctx, gradient, _):  # type: ignore[no-untyped-def]
        centred, weight, values, indices = ctx.saved_tensors
        need_activations, need_centre, *_ = ctx.needs_input_grad
        if ctx.relu:
            gradient = gradient * (values > 0)
        of_weight = scatter_sum(gradient, indices, centred, len(weight))
        of_bias = torch.bincount(indices.flatten(), gradient.flatten(), len(weight)).to(weight.dtype)
        of_centre = -(of_bias @ weight) if need_centre else None
        of_activations = gather_sum(gradient, indices, weight) if need_activations else None
        return of_activations, of_centre, of_weight, of_bias, None, None


def _encode(centred: Tensor, weight: Tensor, bias: Tensor, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
    # Ranked in full precision also under autocast: of bfloat16 scores a third of the tokens tie at their k-th.
    with torch.autocast(centred.device.type, enabled=False):
        scores = F.linear(centred, weight, bias)
    picked = [top_k(scores[:, group.start : group.stop], group.k) for group in groups]
    values = torch.cat([values for values, _ in picked], dim=1)
    indices = torch.cat(
        [indices + group.start for (_, indices), group in zip(picked, groups, strict=True)], 1
    )
    return values, indices
