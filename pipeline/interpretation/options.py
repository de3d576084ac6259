"""The options of naming latents."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.config import Options
from pipeline.metrics.options import Pooling

Reference = Literal["typical", "own"]
"""What a peak is measured by."""


class InterpretOptions(Options):
    """How latents are named. Defaults are the paper's where it gives them (sigma, purity)."""

    concepts: str = Field("world", description="an embedded concept list's name, or the path of one")
    prompt: str = Field(
        "a photo of a {term}",
        description="text in which a term is encoded: a caption, as the backbone was trained on; what every prompt "
        "has in common has no IDF weight",
    )
    pooling: Pooling = Field(
        "mean",
        description="how a term's token codes become one code. The paper does not say; mean is how its losses pool",
    )
    idf: bool = Field(True, description="weigh latents by log(concepts / concepts that activate them)")
    reference: Reference = Field(
        "typical",
        description="what a peak is a share of: the weighted code of a typical concept of the list (its median), or "
        "the concept's own",
    )
    threshold: float = Field(
        0.5, ge=0, lt=1, description="share of the reference that a patch must hold to be a hit"
    )
    cluster_encoder: str = Field(
        "backbone",
        min_length=1,
        description="what embeds terms for clustering: the backbone's text encoder, or else a sentence-transformers "
        "model by name or folder (needs the extra `sentences`)",
    )
    similarity: float = Field(
        0.78, ge=-1, le=1, description="cosine at which two terms share a cluster (sigma)"
    )
    minimum_purity: float = Field(
        0.55, ge=0, le=1, description="least share of hits in a named latent's cluster"
    )
    minimum_hits: int = Field(5, ge=1, description="fewest hits of a named latent")
    minimum_confidence: float = Field(
        0.5,
        ge=0,
        le=1,
        description="with sae.image_level, least correlation, on the training pairs, of a picture's score with the "
        "largest code of its captions, for an image-level latent to be named",
    )
    top_images: int = Field(12, ge=1, description="images kept per latent")
    top_captions: int = Field(8, ge=1, description="captions kept per latent")
    batch_pairs: int = Field(64, ge=1, description="pairs in memory at once; decides memory, not results")

    @field_validator("prompt")
    @classmethod
    def _prompt_has_a_place_for_the_term(cls, prompt: str) -> str:
        if "{term}" not in prompt:
            raise ValueError("the prompt has no {term} in it")
        return prompt
