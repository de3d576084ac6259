"""Barycentric maps: each element becomes the plan-weighted mean of what it is matched with.

LUCID (arXiv 2602.07311) 3.3.1. The weights are the plan's entries over its *actual* row or column sums,
which differ from the marginals where the iteration has not converged. An element without mass (a patch of
a pair with an empty caption; a token that guidance gave weight 0) is matched with nothing and gets 0.
"""

from jaxtyping import Float
from torch import Tensor

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import scatter_sum
from pipeline.transport.cost import inverse, pair_latent
from pipeline.transport.plan import TransportPlan


def mix_text_to_patches(
    plan: TransportPlan, rows: Float[Tensor, "token channel"]
) -> Float[Tensor, "pair_patch channel"]:
    """Mix for every patch the rows of its pair's tokens.

    Mixing and decoding are linear and can be swapped: the few text tokens are decoded first, then mixed.
    """
    weights = plan.plan * inverse(plan.plan.sum(dim=2, keepdim=True))
    return (weights @ plan.tokens.padded(rows)).flatten(0, 1)


def mix_codes_to_text(plan: TransportPlan, vision: SparseCodes, width: int) -> Float[Tensor, "token {width}"]:
    """Mix for every token the codes of its pair's patches, over latents 0 .. width - 1.

    The other order of `mix_text_to_patches`: many sparse patch codes are mixed into few token codes first,
    which are dense by nature; one matrix product then decodes them.
    """
    pairs, longest = plan.valid.shape
    weights = plan.plan * inverse(plan.plan.sum(dim=1, keepdim=True))
    mixed = scatter_sum(
        vision.values,
        pair_latent(vision.indices, pairs, width),
        weights.flatten(0, 1),
        pairs * width,
    )
    return mixed.view(pairs, width, longest).mT[plan.tokens.pair, plan.tokens.place]
