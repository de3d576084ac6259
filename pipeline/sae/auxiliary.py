"""Care for dead latents: a clock per latent, and the auxiliary loss AuxK that lets the dead explain the rest.

Gao et al., "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093), section 2.4. Not in LUCID's text.
"""

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn

from pipeline.config import Options
from pipeline.sae.codes import SparseCodes, gather_sum
from pipeline.sae.dictionary import Dictionary
from pipeline.sae.topk import Group, sparse_encode


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


class LatentActivity(nn.Module):
    """For every latent of a side: how many pairs of training went by since it last fired."""

    pairs_since_fired: Int64[Tensor, " latent"]

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.register_buffer("pairs_since_fired", torch.zeros(latents, dtype=torch.int64))

    @torch.no_grad()
    def record(self, codes: SparseCodes, pairs: int) -> None:
        """Count `pairs` pairs more, and start afresh for the latents that fired among their codes."""
        self.pairs_since_fired += pairs
        self.pairs_since_fired[codes.indices[codes.values != 0]] = 0

    def dead(self, after_pairs: int) -> Bool[Tensor, " latent"]:
        """Which latents have missed the last `after_pairs` pairs or more."""
        return self.pairs_since_fired >= after_pairs


def auxiliary_loss(
    dictionary: Dictionary,
    scaled: Float[Tensor, "token channel"],
    reconstruction: Float[Tensor, "token channel"],
    dead: Bool[Tensor, " latent"],
    k: int,
) -> Float[Tensor, ""]:
    """AuxK: share of the reconstruction's error that the k best dead latents fail to explain.

    The error is detached and has no bias in it, so none is added; it is divided by its own variance, so the
    loss is near 1 at any stage of training; and it is scaled down while fewer than k latents are dead, so a
    handful of dead latents is not asked to explain everything.
    """
    latents = dead.nonzero()[:, 0]
    if not len(latents) or not len(scaled):
        return scaled.new_zeros(())
    error = (scaled - reconstruction).detach()
    centre = dictionary.centre().detach()
    group = Group(0, len(latents), min(k, len(latents)))
    codes = sparse_encode(
        scaled,
        centre,
        dictionary.encoder[latents],
        dictionary.encoder_bias[latents],
        [group],
        dictionary.relu,
    )
    explained = gather_sum(codes.values, codes.indices, dictionary.decoder[latents])
    variance = (error - error.mean(dim=0)).square().mean()
    share = (explained - error).square().mean() / variance.clamp_min(torch.finfo(error.dtype).tiny)
    return share * min(len(latents) / k, 1.0)
