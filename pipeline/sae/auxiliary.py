"""Care for dead latents: a clock per latent, and the auxiliary loss AuxK that lets the dead explain the rest.

Gao et al., "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093), section 2.4. Not in LUCID's text.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.sae.dictionary import Dictionary
from pipeline.sae.losses import mean_squared_error
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.select_rows import select_rows
from pipeline.sparse.top_k import Group, top_k


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
        latents = len(self.pairs_since_fired)
        # Inactive entries point past the end: a boolean mask would make a GPU wait for its count.
        fired = self.pairs_since_fired.new_zeros(latents + 1, dtype=torch.bool)
        fired.index_fill_(0, codes.indices.masked_fill(codes.values == 0, latents).flatten(), True)
        self.pairs_since_fired.masked_fill_(fired[:-1], 0)

    def dead(self, after_pairs: int) -> Bool[Tensor, " latent"]:
        """Which latents have missed the last `after_pairs` pairs or more."""
        return self.pairs_since_fired >= after_pairs

    def most_dead(self, after_pairs: int, pairs: int) -> Int64[Tensor, ""]:
        """How many would be dead if none fired in the next `pairs` pairs."""
        return self.dead(after_pairs - pairs).sum()


def auxiliary_loss(
    dictionary: Dictionary,
    scaled: Float[Tensor, "token channel"],
    reconstruction: Float[Tensor, "token channel"],
    dead: Bool[Tensor, " latent"],
    k: int,
    most_dead: int,
    counted: Bool[Tensor, " token"] | None = None,
) -> Float[Tensor, ""]:
    """AuxK: share of the reconstruction's error that the k best dead latents fail to explain.

    The error is detached and has no bias in it, so none is added; it is divided by its own variance, so the
    loss is near 1 at any stage of training; and it is scaled down while fewer than k latents are dead, so a
    handful of dead latents is not asked to explain everything. An error without variance, as that of a single
    token, has no share that could be explained: the loss is 0.

    Args:
        most_dead: upper bound of how many are dead. Living latents fill up to it and have code 0.
        counted: which rows are tokens, by default all.
    """
    if not most_dead or not len(scaled):
        return scaled.new_zeros(())
    latents = torch.argsort(~dead, stable=True)[:most_dead].sort().values
    error = (scaled - reconstruction).detach()
    codes = _dense_codes(dictionary, scaled, latents, ~dead[latents], k)
    explained = codes @ select_rows(dictionary.decoder, latents)
    mean = _mean_row(error, counted)
    variance = mean_squared_error(error, mean.expand_as(error), counted)
    unexplained = mean_squared_error(explained, error, counted)
    varies = variance > torch.finfo(error.dtype).eps * mean.square().mean()  # beyond the rounding of the mean
    share = unexplained / variance.masked_fill(~varies, torch.inf)
    return share * (dead.sum() / k).clamp_max(1.0).to(share.dtype)


def _mean_row(rows: Tensor, counted: Tensor | None) -> Float[Tensor, " channel"]:
    if counted is None:
        return rows.mean(dim=0)
    return counted.to(rows.dtype) @ rows / counted.sum().clamp_min(1)


def _dense_codes(
    dictionary: Dictionary,
    scaled: Tensor,
    latents: Int64[Tensor, " latent"],
    living: Bool[Tensor, " latent"],
    k: int,
) -> Float[Tensor, "token latent"]:
    # Written out: k is half the width of the activations, so of a few hundred dead latents most are kept.
    encoder = select_rows(dictionary.encoder, latents)
    # Living latents come last in every ranking, and below zero.
    bias = dictionary.encoder_bias[latents].masked_fill(living, torch.finfo(scaled.dtype).min)
    with torch.autocast(scaled.device.type, enabled=False):
        scores = F.linear(scaled - dictionary.centre().detach(), encoder, bias)
    if k < len(latents):
        _, kept = top_k(scores.detach(), [Group(0, len(latents), k)])
        scores = scores * torch.zeros_like(scores).scatter_(1, kept, 1)
    return scores.relu() if dictionary.relu else scores.masked_fill(living, 0)
