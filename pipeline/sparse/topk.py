"""The Top-K encoder: rank pre-activations, keep k per group of latents, and never store the rest."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from pipeline.sparse import products
from pipeline.sparse.availability import onednn_reason, runs_on_triton
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import LatentOrder, order_by_latent
from pipeline.sparse.top_k import fits_top_k, top_k_per_group

_PRE_ACTIVATIONS_AT_ONCE = {"cpu": 1 << 24, "cuda": 1 << 29}
"""Bounds the one dense intermediate, [token, latent] in fp32: to 64 MiB, and on a GPU to 2 GiB, so the paper's step
is encoded in one piece there."""

_BUNDLE = 8
"""Columns that `_select` ranks by their maximum before it looks at them singly."""


class Group(NamedTuple):
    """A range of latents with a Top-K budget of its own."""

    start: int
    stop: int
    k: int


def top_k(
    scores: Float[Tensor, "token latent"], k: int
) -> tuple[Float[Tensor, "token {k}"], Int64[Tensor, "token {k}"]]:
    """The k largest scores of every row and their columns; among equal scores the lowest column wins.

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


def rank(
    scores: Float[Tensor, "token latent"], groups: Sequence[Group]
) -> tuple[Float[Tensor, "token kept"], Int64[Tensor, "token kept"]]:
    """`top_k` of every group of latents, group after group: scores, and columns among all latents."""
    if runs_on_triton(scores) and fits_top_k(groups):
        return top_k_per_group(scores, groups)
    picked = [top_k(scores[:, group.start : group.stop], group.k) for group in groups]
    values = torch.cat([values for values, _ in picked], dim=1)
    indices = torch.cat(
        [indices + group.start for (_, indices), group in zip(picked, groups, strict=True)], 1
    )
    return values, indices


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


def sparse_autoencode(
    activations: Float[Tensor, "token channel"],
    centre: Float[Tensor, " channel"],
    encoder: Float[Tensor, "latent channel"],
    bias: Float[Tensor, " latent"],
    decoder: Float[Tensor, "latent channel"],
    groups: Sequence[Group],
    relu: bool,
) -> tuple[SparseCodes, Float[Tensor, "token channel"]]:
    """`sparse_encode`, and the codes times `decoder`: the same as `gather_sum` of them, with a cheaper gradient.

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
    def backward(ctx, of_values, _):  # type: ignore[no-untyped-def]
        centred, weight, values, indices = ctx.saved_tensors
        of_scores = of_values * (values > 0) if ctx.relu else of_values
        order = order_by_latent(indices, len(weight))
        return *_of_encoder(of_scores, indices, order, centred, weight, ctx.needs_input_grad), None, None


class _SparseAutoencode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, activations, centre, encoder, bias, decoder, groups, relu):  # type: ignore[no-untyped-def]
        centred = activations - centre
        values, indices = _encode(centred, encoder, bias, groups, relu)
        ctx.relu = relu
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(centred, encoder, decoder, values, indices)
        return values, indices, products.gather_sum(values, indices, decoder)

    @staticmethod
    def backward(ctx, of_values, _, of_combined):  # type: ignore[no-untyped-def]
        centred, encoder, decoder, values, indices = ctx.saved_tensors
        order = order_by_latent(indices, len(encoder))
        of_scores = of_values + products.sampled_dot(decoder, indices, of_combined, order)
        if ctx.relu:
            of_scores = of_scores * (values > 0)
        of_decoder = products.scatter_sum(values, indices, of_combined, len(decoder), order)
        of_encoder = _of_encoder(of_scores, indices, order, centred, encoder, ctx.needs_input_grad)
        return *of_encoder, of_decoder, None, None


def _of_encoder(
    of_scores: Tensor,
    indices: Tensor,
    order: LatentOrder,
    centred: Tensor,
    weight: Tensor,
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """Gradients of activations, centre, weight and bias from those of the k kept pre-activations."""
    need_activations, need_centre, *_ = needed
    of_weight = products.scatter_sum(of_scores, indices, centred, len(weight), order)
    of_bias = products.sum_by_latent(of_scores, indices, len(weight), order)
    of_centre = -(of_bias @ weight) if need_centre else None
    of_activations = products.gather_sum(of_scores, indices, weight) if need_activations else None
    return of_activations, of_centre, of_weight, of_bias


def _encode(
    centred: Tensor, weight: Tensor, bias: Tensor, groups: Sequence[Group], relu: bool
) -> tuple[Tensor, Tensor]:
    at_once = _PRE_ACTIVATIONS_AT_ONCE.get(centred.device.type, _PRE_ACTIVATIONS_AT_ONCE["cpu"])
    tokens_at_once = max(1, at_once // len(weight))
    chunks = torch.split(centred, tokens_at_once)
    parts = [rank(_pre_activations(chunk, weight, bias), groups) for chunk in chunks]
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
