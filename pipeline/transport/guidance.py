"""Guided cross-modal transport, GCMT (LUCID, arXiv 2602.07311, 3.2.2): two parts, each on or off."""

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from pipeline.config import Options
from pipeline.transport.cost import CodeSimilarity, inverse


class GuidanceOptions(Options):
    """Which parts of GCMT steer the plan, and how strongly."""

    structural: bool = Field(
        default=True,
        description="add the cost of a structural mask M. The paper trains without labels and never says what its "
        "M is; where it uses M again, in the pooled code of 3.2.3, it is the set of valid text tokens. So "
        "without a mask given, M is 1 on every valid token, and padding carries no mass at all",
    )
    global_context: bool = Field(
        default=True,
        description="weigh the tokens' mass, and tilt the cost, by their fit to the image's mean code",
    )
    beta_mask: float = Field(
        default=10.0, ge=0, description="cost of a pairing that a structural mask forbids"
    )
    lambda_global: float = Field(
        default=0.5, ge=0, description="cost of a token that does not fit the image at all"
    )


def apply_structural_mask(
    cost: Float[Tensor, "pair patch text"], mask: Float[Tensor, "pair patch text"], beta_mask: float
) -> Float[Tensor, "pair patch text"]:
    """`C + beta_mask (1 - M)`: M is 1 where patch and token may meet, 0 where they may not, or between."""
    return cost + beta_mask * (1 - mask)


def context_weights(
    similarity: CodeSimilarity, context_length: Float[Tensor, " pair"]
) -> Float[Tensor, "pair text"]:
    """`w_j = max(0, cos(g, z_j))`: how well each token's code fits the image's mean code g.

    The inner product with a mean is the mean of the inner products, so g itself is only needed for its
    length, `context_length`. A zero code on either side gives weight 0.
    """
    scale = inverse(context_length)[:, None] * inverse(similarity.text_length)
    return (similarity.dot.mean(dim=1) * scale).relu()


def tilt_cost(
    cost: Float[Tensor, "pair patch text"], weights: Float[Tensor, "pair text"], lambda_global: float
) -> Float[Tensor, "pair patch text"]:
    """`C + lambda_global (1 - w_j)` in every row.

    A cost that is constant down a column is absorbed by that column's scaling: with the column's mass
    fixed, it moves where the finite iteration starts and so how it converges, not the plan it converges to.
    """
    return cost + lambda_global * (1 - weights)[:, None, :]


def column_mass(
    weights: Float[Tensor, "pair text"], uniform: Float[Tensor, "pair text"]
) -> Float[Tensor, "pair text"]:
    """`c = w / sum(w)`; a pair whose weights are all 0 keeps the uniform marginal over its valid tokens."""
    total = weights.sum(dim=1, keepdim=True)
    nothing = total == 0
    return (weights / total.masked_fill(nothing, 1)).where(~nothing, uniform)
