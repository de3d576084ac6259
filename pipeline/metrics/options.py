"""The options of measuring a dictionary."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.config import Options

Pooling = Literal["mean", "max"]
"""How the codes of an item's tokens become one code."""


class EvaluateOptions(Options):
    """How a dictionary is measured; none of it changes the dictionary."""

    batch_pairs: int = Field(default=64, ge=1, description="pairs held at once; decides memory, not results")
    prompt: str = Field(
        default="a photo of a {category}", description="names a category that a caption does not name"
    )
    degeneracy_pooling: Pooling = Field(
        default="mean",
        description="how an image's or a caption's shared codes are pooled before its Top-k for maxfreq. The paper "
        "does not say; mean is how its losses pool",
    )
    concept_pooling: Pooling = Field(
        default="max",
        description="how an image's or a caption's shared codes are pooled to detect a concept: max, so that an "
        "object of three patches can speak as loud as one of a hundred; likewise for `alignment`, "
        "`consistency`, `retrieval`, `modality` and `monosemanticity`",
    )
    least_positives: int = Field(
        default=10, ge=1, description="items with a concept, and as many without, that it takes to ask for it"
    )
    judge: str | None = Field(
        default=None,
        description="cache of the same pairs by another backbone, whose pooled embeddings judge `alignment`, and "
        "`monosemanticity` where samples state no concepts; by default those of the evaluated cache itself",
    )
    alignment_latents: int = Field(default=100, ge=2, description="latents drawn for `alignment`")
    alignment_items: int = Field(
        default=10, ge=1, description="images and captions that speak for a latent in `alignment`"
    )
    consistency_pairs: int = Field(
        default=1000, ge=2, description="pairs drawn for `consistency`, each held against every other"
    )
    centring_pairs: int = Field(
        default=256,
        ge=1,
        description="training pairs whose mean code of a side is subtracted for `retrieval.centred`",
    )
    changed_captions: int = Field(
        default=0,
        ge=0,
        description="in how many ways a fact of each caption is changed for `changed_captions`, which asks a picture "
        "for the true one, and for `edits`; of the embedded world alone. 0 leaves both out",
    )
    probes: bool = Field(
        default=False,
        description="whether probes of true concepts are fitted on the shared codes of all training pairs, for "
        "`probes`: of 1, 2, 5 and all latents, scored on their own side and on the other; a minute for 6,000 pairs",
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="shuffles labels for the chance level of concept recovery; draws latents and pairs",
    )

    @field_validator("prompt")
    @classmethod
    def _names_the_category(cls, prompt: str) -> str:
        if prompt.count("{category}") != 1 or "{" in prompt.replace("{category}", ""):
            raise ValueError("the prompt must contain {category} once, and no other brace")
        return prompt
