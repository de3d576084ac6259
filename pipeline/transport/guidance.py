"""Guided cross-modal transport, GCMT (LUCID, arXiv 2602.07311, 3.2.2)."""

from jaxtyping import Float
from torch import Tensor

from pipeline.transport.cost import CodeSimilarity, inverse


def context_weights(
    similarity: CodeSimilarity, context_length: Float[Tensor, " pair"]
) -> Float[Tensor, "pair text"]:
    """Compute `w_j = max(0, cos(g, z_j))`: how well each token's code fits the image's mean code g.

    The inner product with a mean is the mean of the inner products, so g itself is only needed for its
    length, `context_length`. A zero code on either side gives weight 0.
    """
    scale = inverse(context_length)[:, None] * inverse(similarity.text_length)
    return (similarity.dot.mean(dim=1) * scale).relu()


def tilt_cost(
    cost: Float[Tensor, "pair patch text"], weights: Float[Tensor, "pair text"], lambda_global: float
) -> Float[Tensor, "pair patch text"]:
    """Compute `C + lambda_global (1 - w_j)` in every row.

    A cost that is constant down a column is absorbed by that column's scaling: with the column's mass
    fixed, it moves where the finite iteration starts and so how it converges, not the plan it converges to.
    """
    return cost + lambda_global * (1 - weights)[:, None, :]


def column_mass(
    weights: Float[Tensor, "pair text"], uniform: Float[Tensor, "pair text"]
) -> Float[Tensor, "pair text"]:
    """Compute `c = w / sum(w)`; a pair whose weights are all 0 keeps the uniform marginal over its valid tokens."""
    total = weights.sum(dim=1, keepdim=True)
    nothing = total == 0
    return (weights / total.masked_fill(nothing, 1)).where(~nothing, uniform)
