"""The Top-K encoder: rank pre-activations, keep k per group of latents, and never store the rest."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pipeline.sparse.availability import onednn_reason
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import (
    LatentOrder,
    gather_sum,
    order_by_latent,
    sampled_dot,
    scatter_sum,
    sum_by_latent,
)
from pipeline.sparse.top_k import Group, top_k

_PRE_ACTIVATIONS_AT_ONCE = {"cpu": 1 << 24, "cuda": 1 << 29}
"""Bounds the one dense intermediate, [token, latent] in fp32: to 64 MiB, and on a GPU to 2 GiB, so the paper's step
is encoded in one piece there."""


def sparse_encode(
    activations: Float[Tensor, "token channel"],
    centre: Float[Tensor, " channel"],
    weight: Float[Tensor, "latent channel"],
    bias: Float[Tensor, " latent"],
    groups: Sequence[Group],
    relu: bool,
) -> SparseCodes:
    """Compute `TopK(relu(weight (activations - centre) + bias))`, each group of latents with its own k.

    LUCID (arXiv 2602.07311) 3.1.1. The ReLU follows the Top-K: the largest are the same, and where fewer
    than k are positive the rest come out as 0 and pass no gradient.
    Differentiable in everything but the choice of latents; gradients are computed from the k kept entries.
    """
    values, indices = _SparseEncode.apply(activations, centre, weight, bias, tuple(groups), relu)
    return SparseCodes(values, indices)


def sparse_autoencode(
    activations: Float[Tensor, "token channel"],
    centre: Float[Tensor, " channel"],
    encoder: Float[Tensor, "latent channel"],
    bias: Float[Tensor, " latent"],
    decoder: Float[Tensor, "latent channel"],
    groups: Sequence[Group],
    relu: bool,
) -> tuple[SparseCodes, Float[Tensor, "token channel"]]:
    """Encode as `sparse_encode`, and decode: the same as `gather_sum` of the codes, with a cheaper gradient.

    The gradients of encoder and decoder add up rows by the same latents, so here their entries are sorted once.
    """
    values, indices, combined = _SparseAutoencode.apply(
        activations, centre, encoder, bias, decoder, tuple(groups), relu
    )
    return SparseCodes(values, indices), combined


class _SparseEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, activations, centre, weight, bias, groups, relu):  # type: ignore[no-untyped-def]
        centred = activations - centre
        values, indices = _encode(centred, weight, bias, groups, relu)
        ctx.relu = relu
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(centred, weight, values, indices)
        return values, indices

    @staticmethod
    def backward(ctx, grad_values, _):  # type: ignore[no-untyped-def]
        centred, weight, values, indices = ctx.saved_tensors
        grad_scores = grad_values * (values > 0) if ctx.relu else grad_values
        order = order_by_latent(indices, len(weight))
        return (
            *_encoder_gradients(grad_scores, indices, order, centred, weight, ctx.needs_input_grad),
            None,
            None,
        )


class _SparseAutoencode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, activations, centre, encoder, bias, decoder, groups, relu):  # type: ignore[no-untyped-def]
        centred = activations - centre
        values, indices = _encode(centred, encoder, bias, groups, relu)
        ctx.relu = relu
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(centred, encoder, decoder, values, indices)
        return values, indices, gather_sum(values, indices, decoder)

    @staticmethod
    def backward(ctx, grad_values, _, grad_combined):  # type: ignore[no-untyped-def]
        centred, encoder, decoder, values, indices = ctx.saved_tensors
        order = order_by_latent(indices, len(encoder))
        grad_scores = grad_values + sampled_dot(decoder, indices, grad_combined, order)
        if ctx.relu:
            grad_scores = grad_scores * (values > 0)
        grad_decoder = scatter_sum(values, indices, grad_combined, len(decoder), order)
        encoder_gradients = _encoder_gradients(
            grad_scores, indices, order, centred, encoder, ctx.needs_input_grad
        )
        return *encoder_gradients, grad_decoder, None, None


def _encoder_gradients(
    grad_scores: Tensor,
    indices: Tensor,
    order: LatentOrder,
    centred: Tensor,
    weight: Tensor,
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """Take the gradients of activations, centre, weight and bias from those of the k kept pre-activations."""
    need_activations, need_centre, *_ = needed
    grad_weight = scatter_sum(grad_scores, indices, centred, len(weight), order)
    grad_bias = sum_by_latent(grad_scores, indices, len(weight), order)
    grad_centre = -(grad_bias @ weight) if need_centre else None
    grad_activations = gather_sum(grad_scores, indices, weight) if need_activations else None
    return grad_activations, grad_centre, grad_weight, grad_bias


def _encode(
    centred: Tensor, weight: Tensor, bias: Tensor, groups: Sequence[Group], relu: bool
) -> tuple[Tensor, Tensor]:
    at_once = _PRE_ACTIVATIONS_AT_ONCE.get(centred.device.type, _PRE_ACTIVATIONS_AT_ONCE["cpu"])
    tokens_at_once = max(1, at_once // len(weight))
    chunks = torch.split(centred, tokens_at_once)
    parts = [top_k(_pre_activations(chunk, weight, bias), groups) for chunk in chunks]
    values = torch.cat([values for values, _ in parts])
    indices = torch.cat([indices for _, indices in parts])
    return values.relu_() if relu else values, indices


def _pre_activations(centred: Tensor, weight: Tensor, bias: Tensor) -> Float[Tensor, "token latent"]:
    """`weight centred + bias` in float32, also under autocast: of bfloat16 scores a third tie at their k-th."""
    device = centred.device.type
    halved = torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False):
        if halved and device == "cuda":  # bfloat16 factors, but sums that are never rounded to it
            factors = centred.bfloat16(), weight.bfloat16().T
            return torch.addmm(bias, *factors, out_dtype=torch.float32)
        if centred.dtype == weight.dtype == torch.float32 and onednn_reason(centred.device) is None:
            # Adds the bias while it multiplies: `linear` has MKL add to a matrix of copies of it, at 1.1 to 1.8 times
            # the time. torch has this only for what its compiler generates.
            return cast(Tensor, torch.ops.mkldnn._linear_pointwise(centred, weight, bias, "none", [], ""))
        return F.linear(centred, weight, bias)
