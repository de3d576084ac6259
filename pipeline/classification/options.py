"""What a measurement of zero-shot classification can be told."""

from typing import Annotated

from pydantic import Field

from pipeline.config import Options

Weight = Annotated[float, Field(ge=0)]


class ClassificationOptions(Options):
    """The weights of the concepts, and how many pictures and repetitions they are measured on."""

    alpha: Weight = Field(default=1.0, description="the fixed weight of the concepts' similarity")
    alphas: tuple[Weight, ...] = Field(
        default=(0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
        min_length=1,
        description="the weights that tuning tries, on pictures that are not scored",
    )
    seeds: int = Field(
        default=5, ge=1, description="repetitions: draws of the pictures, or splits of a folder"
    )
    pictures: int = Field(
        default=104,
        ge=1,
        description="pictures of the embedded world to tune on and to score, each, per seed",
    )
    tuning_share: float = Field(
        default=0.5, gt=0, lt=1, description="share of every class of one folder that is tuned on, not scored"
    )
    batch_size: int = Field(default=64, ge=1, description="pictures, or prompts, per forward pass")
