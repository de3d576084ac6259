"""The options of guided transport."""

from pydantic import Field

from pipeline.config import Options


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
