"""The options of VL-SAE; its ablations and the baselines it is compared with are choices of them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config import Options
from pipeline.sae.options import (
    Inputs,
    LatentOptions,
    PairedCodesOptions,
    refuse_more_active_than_there_are,
)

EncoderKind = Literal["distance", "cosine", "affine"]
Similarity = Literal["cosine", "dot"]


class VLSAEOptions(LatentOptions):
    """VL-SAE (arXiv 2510.21323); the defaults are its settings for a CLIP model of embedding width 512.

    Its ablations change `encoder` or `shared_decoder`. Its baselines are affine: SAE-D shares neither encoder nor
    decoder between the sides, SAE-S shares both.
    """

    architecture: Literal["vl_sae"] = Field(
        default="vl_sae", description="which SAE; the other options are its own"
    )
    inputs: Inputs = Field(
        default="pooled",
        description="what is read of a pair: its pooled embeddings, as in the paper, or every patch and token",
    )
    latents: int = Field(
        default=4096, gt=0, description="latents, H; the paper's is 8 times the embedding width"
    )
    k: int = Field(
        default=256, gt=0, description="active latents per input, K; half the embedding width there"
    )
    encoder: EncoderKind = Field(
        default="distance",
        description="activation: 2 minus the distance of unit vectors, their cosine if positive, or relu(W x + b)",
    )
    shared_encoder: bool = Field(default=True, description="one encoder for both sides, or one for each")
    shared_decoder: bool = Field(default=False, description="one decoder for both sides, or one for each")

    centre: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a side's mean that is subtracted before encoding. Not in the paper; but where the sides' "
        "means point apart (the modality gap), latents that are directions fire on one side only",
    )
    side_bias: bool = Field(
        default=False,
        description="learn a bias per side, at first its mean, which is subtracted before encoding and added after "
        "decoding (GSAE, arXiv 2601.20028)",
    )
    paired_codes: PairedCodesOptions = PairedCodesOptions()
    shared_mask: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that a latent is left out of the Top-K of both members of a pair, in training (MGSAE)",
    )

    @property
    def reads(self) -> Inputs:
        """What it reads of a pair."""
        return self.inputs

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of every loss term in the total."""
        paired = self.paired_codes
        return {
            "self_vision": 1.0,
            "self_text": 1.0,
            "budget_vision": self.jump_relu.weight,
            "budget_text": self.jump_relu.weight,
            "cosine": paired.cosine,
            "group_sparsity": paired.group_sparsity,
        }

    @property
    def reindexable(self) -> bool:
        """Whether each side has an encoder and a decoder of its own."""
        return not (self.shared_encoder or self.shared_decoder)

    @property
    def foldable(self) -> bool:
        """Whether linear maps of its own encode and decode each side: distance and cosine are no such maps."""
        return self.reindexable and self.encoder == "affine"

    @model_validator(mode="after")
    def _budget_fits(self) -> Self:
        refuse_more_active_than_there_are(self.k, self.latents)
        return self

    @model_validator(mode="after")
    def _centred_once(self) -> Self:
        if self.side_bias and self.centre:
            raise ValueError(
                f"side_bias: the mean is already subtracted (centre = {self.centre:g}); leave one of them out"
            )
        return self


class AuxiliaryAutoencoderOptions(Options):
    """How the autoencoder is trained; the defaults are VL-SAE's for LLaVA-1.5-7B."""

    similarity: Similarity = Field(
        default="cosine",
        description="of embeddings, in the contrastive loss: the paper's cosine, or the dot product of its code",
    )
    temperature: float = Field(default=0.07, gt=0, description="similarities are divided by it; not learned")
    learning_rate: float = Field(default=5e-5, gt=0, description="AdamW's, constant")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    batch_pairs: int = Field(default=2048, gt=1, description="pairs per step, each the others' negatives")
    epochs: int = Field(default=50, ge=1, description="times that every pair is seen")
    seed: int = Field(default=0, ge=0, description="decides initial weights and batches")
