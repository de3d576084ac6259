"""Global Top-K: the two members of a pair have the same latents, those whose scores have the largest sum."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group, top_k


def global_top_k(
    scores: Mapping[Side, Float[Tensor, "pair latent"]],
    k: int,
    silent: Mapping[Side, Bool[Tensor, " pair"]] | None = None,
) -> dict[Side, SparseCodes]:
    """Encode pairs by the k latents whose scores have the largest sum over the sides, each side by its own scores.

    SPARC (arXiv 2507.06265). A code is `relu(score)`, so a latent that is in the sum's Top-K need not fire
    on both sides. Gradients pass through the kept scores alone. The lowest of equal latents wins.

    Args:
        scores: pre-activations of either side.
        k: latents per pair.
        silent: pairs in which a side's scores are left out of the sum; where both sides' would be, neither is.
    """
    sides = list(scores)
    heard = {side: scores[side].detach() for side in sides}
    if silent is not None:
        both = torch.stack([silent[side] for side in sides]).all(dim=0)
        heard = {side: heard[side].masked_fill((silent[side] & ~both)[:, None], 0) for side in sides}
    latents = scores[sides[0]].shape[1]
    _, indices = top_k(torch.stack(list(heard.values())).sum(dim=0), [Group(0, latents, k)])
    return {side: SparseCodes(scores[side].gather(1, indices).relu(), indices) for side in sides}
