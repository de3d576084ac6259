"""The options of guided transport."""

from typing import NamedTuple

from pydantic import Field

from pipeline.config import Options


class GuidanceOptions(Options):
    """Whether GCMT steers the plan, and how strongly (LUCID, arXiv 2602.07311, 3.2.2); and what goes to no token.

    The paper's other part, a structural mask, is open (docs/variants.md): every patch may be matched with every valid
    token here.
    """

    global_context: bool = Field(
        default=True,
        description="weigh the tokens' mass, and tilt the cost, by their fit to the image's mean code",
    )
    lambda_global: float = Field(
        default=0.5, ge=0, description="cost of a token that does not fit the image at all"
    )
    null_mass: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the patches' mass that goes to no token, at no cost: that of the patches which match the "
        "tokens least. Not in the paper; 0 turns it off",
    )


class TransportOptions(NamedTuple):
    """How a plan is found; by default unguided, with LUCID's numbers (A.1).

    Attributes:
        epsilon: entropic regularisation.
        iterations: of Sinkhorn, always all of them.
        guidance: see `GuidanceOptions`.
    """

    epsilon: float = 0.1
    iterations: int = 10
    guidance: GuidanceOptions = GuidanceOptions(global_context=False)
