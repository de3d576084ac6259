"""The options of the embedded data set."""

from pydantic import Field

from pipeline.config import Options

IDS_PER_SPLIT = 10_000_000
"""Image ids are unique across splits, as COCO's are."""


class ScenesOptions(Options):
    """How much of the embedded world to draw."""

    seed: int = Field(default=0, ge=0, description="another seed, another world")
    image_size: int = Field(default=224, ge=32, le=2048, description="side of the square pictures in pixels")
    train: int = Field(default=6000, ge=1, lt=IDS_PER_SPLIT, description="images of the train split")
    val: int = Field(default=1000, ge=1, lt=IDS_PER_SPLIT, description="images of the val split")
    ood: int = Field(
        default=500, ge=1, lt=IDS_PER_SPLIT, description="images of unseen (noun, colour) combinations"
    )
    workers: int = Field(default=1, ge=1, description="processes that draw; the files do not depend on it")
