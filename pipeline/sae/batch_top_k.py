"""BatchTopK: one budget of active latents for a whole batch in training, a stored threshold ever after.

Bussmann, Leask and Nanda, "BatchTopK Sparse Autoencoders" (arXiv 2412.06410), section 3. Of a batch of n tokens the
k n largest codes of a group of latents are kept, so that a token that has more to say may say more. A token's code
must not depend on what it is read together with, so afterwards a code is kept where it reaches a threshold.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pipeline.sae.thresholds import BatchCodes, Thresholds, smallest_kept
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group

_NEWEST_WEIGHT = 0.01
"""Weight of a batch in the running means, once a hundred batches were seen; up to there all weigh the same."""


class BatchTopK(Thresholds):
    """The thresholds of one side, one per group of latents, and how they were found."""

    thresholds: Float[Tensor, " group"]
    """Running mean of a batch's smallest kept code; until there was a batch 0, which keeps all candidates."""
    capped: Float[Tensor, " group"]
    """Running mean of the share of tokens at the cap, which may have lost latents to it."""
    batches: Int64[Tensor, ""]
    """Number of batches of training that the means are of, since they last began."""

    def __init__(self, groups: Sequence[Group], cap: int) -> None:
        """Start without a threshold.

        Args:
            groups: one after another, together all latents; k is the active latents per token in the mean of a batch.
            cap: a token has at most this many times as many.
        """
        super().__init__(cap)
        self._groups = tuple(groups)
        self.register_buffer("thresholds", torch.zeros(len(groups)))
        self.register_buffer("capped", torch.zeros(len(groups)))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def above_threshold(self, codes: SparseCodes) -> SparseCodes:
        """Keep the codes that reach the stored threshold of their latent's group."""
        indices = codes.indices
        starts = indices.new_tensor([group.start for group in self._groups[1:]])
        group = torch.bucketize(indices, starts, right=True)
        return codes._replace(values=codes.values * (codes.values >= self.thresholds[group]))

    def of_batch(
        self, codes: SparseCodes, groups: Sequence[Group], mask: Bool[Tensor, " token"] | None = None
    ) -> BatchCodes:
        """Keep the largest codes of the batch while it is learned from, and those above the thresholds elsewhere."""
        if self.training:
            return BatchCodes(self.largest_of_batch(codes, groups, mask))
        return BatchCodes(self.above_threshold(codes))

    def restart(self) -> None:
        """Begin the running means anew with the next batch; until then they stay what they are."""
        self.batches.zero_()

    def largest_of_batch(
        self, codes: SparseCodes, groups: Sequence[Group], mask: Bool[Tensor, " token"] | None = None
    ) -> SparseCodes:
        """Keep the k n largest codes of each group and count them into the running means. Equals are all kept.

        Args:
            codes: by the `candidates` of these groups, group after group; none is negative.
            groups: those that have a threshold, or a single one of all latents, whose threshold is then that of each.
            mask: which rows are tokens, by default all; the codes of the others become 0.
        """
        values = codes.values if mask is None else codes.values * mask[:, None]
        tokens = self.batches.new_full((), len(values)) if mask is None else mask.sum()
        columns = [group.k for group in self.candidates(groups)]
        parts = torch.split(values, columns, dim=1)
        smallest = torch.stack(
            [smallest_kept(part.detach(), group.k, tokens) for part, group in zip(parts, groups, strict=True)]
        )
        kept = [part * (part >= least) for part, least in zip(parts, smallest, strict=True)]
        last = torch.stack([part.detach().amin(dim=1) for part in kept], dim=1)
        self._count(smallest, (last > 0).sum(dim=0) / tokens.clamp_min(1))
        return codes._replace(values=torch.cat(kept, dim=1))

    @torch.no_grad()
    def _count(self, smallest: Tensor, capped: Tensor) -> None:
        self.batches += 1
        weight = self.batches.reciprocal().clamp_min(_NEWEST_WEIGHT)
        self.thresholds.lerp_(smallest.expand_as(self.thresholds), weight)
        self.capped.lerp_(capped.expand_as(self.capped), weight)
