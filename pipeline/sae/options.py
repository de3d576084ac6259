"""What the options of every architecture have in common, and options that several of them have."""

from typing import Literal

from pydantic import Field

from pipeline.config import Options

Inputs = Literal["tokens", "pooled"]


class ArchitectureOptions(Options):
    """The options that an SAE is built from; `architecture` is its name in the registry."""

    architecture: str

    @property
    def reads(self) -> Inputs:
        """What the SAE reads of a pair: every patch and token, unless the architecture says otherwise."""
        return "tokens"


class AuxiliaryOptions(Options):
    """When a latent counts as dead and how much the loss cares."""

    coefficient: float = Field(
        default=1 / 32, ge=0, description="weight of the auxiliary loss; 0 turns it off"
    )
    k: int | None = Field(
        default=None,
        gt=0,
        description="Top-K budget of the dead latents; null is half the activations' width",
    )
    dead_after_pairs: int = Field(
        default=10_000,
        gt=0,
        description="pairs a latent may miss before it counts as dead. Pairs and not tokens, because an image has "
        "a dozen times as many patches as its caption has tokens: one clock for both sides",
    )
