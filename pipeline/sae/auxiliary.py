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
    """Counts for every latent of a side how many pairs of training went by since it last fired."""

    pairs_since_fired: Int64[Tensor, " latent"]
    most_dead: int | None = None
    """Upper bound of the dead in the next step; None if a GPU may be waited for to count them."""

    def __init__(self, latents: int, dead_after_pairs: int) -> None:
        """Watch new latents, of which those count as dead that missed the last `dead_after_pairs` pairs or more."""
        super().__init__()
        self._dead_after_pairs = dead_after_pairs
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

    @torch.no_grad()
    def reindex(self, order: Int64[Tensor, " latent"]) -> None:
        """Renumber the latents: latent i becomes what latent order[i] was."""
        self.pairs_since_fired.copy_(self.pairs_since_fired[order])

    def dead(self) -> Bool[Tensor, " latent"]:
        """Tell which latents are dead."""
        return self.pairs_since_fired >= self._dead_after_pairs

    def count_dead(self, pairs: int) -> Int64[Tensor, ""]:
        """Count those that would be dead if none fired in the next `pairs` pairs."""
        return (self.pairs_since_fired >= self._dead_after_pairs - pairs).sum()

    def bound(self, pairs: int) -> int:
        """Bound the number of the dead from above, for a step of so many pairs."""
        return int(self.count_dead(pairs)) if self.most_dead is None else self.most_dead


def auxiliary_loss(
    dictionary: Dictionary,
    scaled: Float[Tensor, "token channel"],
    reconstruction: Float[Tensor, "token channel"],
    dead: Bool[Tensor, " latent"],
    k: int,
    most_dead: int,
    mask: Bool[Tensor, " token"] | None = None,
) -> Float[Tensor, ""]:
    """Compute AuxK: the share of the reconstruction's error that the k best dead latents fail to explain.

    The error is detached and has no bias in it, so none is added; it is divided by its own variance, so the
    loss is near 1 at any stage of training; and it is scaled down while fewer than k latents are dead, so a
    handful of dead latents is not asked to explain everything. An error without variance, as that of a single
    token, has no share that could be explained: the loss is 0.

    Args:
        most_dead: upper bound of how many are dead. Living latents fill up to it and have code 0.
        mask: which rows are tokens, by default all.
    """
    if not most_dead or not len(scaled):
        return scaled.new_zeros(())
    latents = torch.argsort(~dead, stable=True)[:most_dead].sort().values
    error = (scaled - reconstruction).detach()
    codes = _dense_codes(dictionary, scaled, latents, ~dead[latents], k)
    explained = codes @ select_rows(dictionary.decoder, latents)
    mean = _mean_row(error, mask)
    variance = mean_squared_error(error, mean.expand_as(error), mask)
    unexplained = mean_squared_error(explained, error, mask)
    varies = variance > torch.finfo(error.dtype).eps * mean.square().mean()  # beyond the rounding of the mean
    share = unexplained / variance.masked_fill(~varies, torch.inf)
    return share * (dead.sum() / k).clamp_max(1.0).to(share.dtype)


def _mean_row(rows: Tensor, mask: Tensor | None) -> Float[Tensor, " channel"]:
    if mask is None:
        return rows.mean(dim=0)
    return mask.to(rows.dtype) @ rows / mask.sum().clamp_min(1)


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
