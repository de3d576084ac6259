"""From shared codes to a transport plan: cost, guidance, Sinkhorn (LUCID, arXiv 2602.07311, 3.2)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.sparse.codes import SparseCodes, pool_codes
from pipeline.transport.cost import code_length, code_similarity
from pipeline.transport.guidance import column_mass, context_weights, tilt_cost
from pipeline.transport.null_token import sinkhorn_with_null_token
from pipeline.transport.options import TransportOptions
from pipeline.transport.plan import TokenPlaces, TransportPlan
from pipeline.transport.sinkhorn import sinkhorn


class Coupling(NamedTuple):
    """A plan and the cost it moves mass over."""

    plan: TransportPlan
    cost: Float[Tensor, "pair patch text"]
    """`1 - cos` without any guidance, also in padded columns (1 there, where the plan is 0)."""


def couple(
    vision: SparseCodes,
    text: SparseCodes,
    tokens: TokenPlaces,
    patches: int,
    width: int,
    options: TransportOptions,
    *,
    detach_plan: bool,
) -> Coupling:
    """Couple every pair's patches [pair * patch, k] with its packed tokens [token, k] by their codes.

    Args:
        vision: codes over latents 0 .. width - 1 only; likewise `text`, 0 in rows that are no tokens.
        tokens: where the rows of `text` stand.
        width: number of latents.
        options: see `TransportOptions`.
        detach_plan: treat the plan as a constant; the cost stays differentiable.
    """
    valid, guidance = tokens.valid, options.guidance
    similarity = code_similarity(vision, text, tokens, width)
    cost = similarity.cost()
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_plan):
        guided = cost
        rows = cost.new_full((len(valid), patches), 1 / patches)
        columns = valid / valid.sum(dim=1, keepdim=True).clamp_min(1).to(cost.dtype)
        if guidance.global_context:
            patch_offsets = torch.arange(len(valid) + 1, device=valid.device) * patches
            context = pool_codes(vision, patch_offsets, width)
            weights = context_weights(similarity, code_length(context))
            guided = tilt_cost(guided, weights, guidance.lambda_global)
            columns = column_mass(weights, columns)
        problem = (guided, valid, rows, columns, options.epsilon, options.iterations)
        plan = (
            sinkhorn_with_null_token(*problem, guidance.null_mass)
            if guidance.null_mass
            else sinkhorn(*problem)
        )
    return Coupling(TransportPlan(plan, tokens), cost)
