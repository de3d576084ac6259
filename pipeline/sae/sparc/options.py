"""The options of SPARC."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.sae.options import ArchitectureOptions, Inputs, refuse_more_active_than_there_are


class SparcOptions(ArchitectureOptions):
    """SPARC (arXiv 2507.06265) on pooled embeddings; the defaults are its settings."""

    architecture: Literal["sparc"] = Field(
        default="sparc", description="which SAE; the other options are its own"
    )
    latents: int = Field(default=8192, gt=0, description="latents of a side, every one of them shared")
    k: int = Field(default=64, gt=0, description="active latents per input")
    cross: float = Field(
        default=1.0,
        ge=0,
        description="weight of the error of either side as rebuilt from the other one's code",
    )
    side_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that a side has no say in which latents a pair has, in training; where both would "
        "have none, both have. Not in the paper, whose training never meets a side that is encoded alone",
    )

    @property
    def reads(self) -> Inputs:
        """What it reads of a pair: its pooled embeddings."""
        return "pooled"

    @property
    def reindexable(self) -> bool:
        """Whether each side has latents of its own, which can be renumbered: it has."""
        return True

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of every loss term in the total: either kind of error is the mean of both sides' at its source."""
        return {
            "self_vision": 0.5,
            "self_text": 0.5,
            "cross_vision": self.cross / 2,
            "cross_text": self.cross / 2,
        }

    @model_validator(mode="after")
    def _budget_fits(self) -> Self:
        refuse_more_active_than_there_are(self.k, self.latents)
        return self
