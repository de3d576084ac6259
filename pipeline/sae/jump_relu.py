"""JumpReLU: a threshold per latent that is learned, by a gradient that a step function does not have.

Rajamanoharan et al., "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders"
(arXiv 2407.14435). A code is `z H(z - threshold)`, H the step function, so the loss is flat in the threshold nearly
everywhere. Its *expectation* is not: it changes by what scores right at the threshold contribute. Section 4 estimates
that from the scores within a narrow band around it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pipeline.sae.options import JumpReLUOptions
from pipeline.sae.thresholds import BatchCodes, Thresholds, smallest_kept
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group

_LEAST_THRESHOLD = 1e-3
"""The smallest one that latents have in common, in units of the codes: a logarithm needs more than 0."""


class JumpReLU(Thresholds):
    """Thresholds of one side, one per latent, which learn from the loss with the weights.

    The mean number of active latents is drawn to the budget of each part, so that dictionaries are compared at equal
    sparsity: the penalty is not the paper's `lambda L0` but `(L0 / k - 1)^2`, as in the open implementations. At first
    the latents of a part have one threshold in common, that of BatchTopK.
    """

    bandwidths: Float[Tensor, " latent"]
    """Widths of the bands that the gradient is estimated from, in units of the codes."""
    batches: Int64[Tensor, ""]
    """Number of batches of training, since thresholds were last in common."""

    def __init__(self, latents: int, options: JumpReLUOptions) -> None:
        """Start with a threshold of 1 for all, until there is a batch."""
        super().__init__(options.cap)
        self._options = options
        self.log_thresholds = nn.Parameter(torch.zeros(latents))
        self.register_buffer("bandwidths", torch.full((latents,), options.bandwidth))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def above_threshold(self, codes: SparseCodes) -> SparseCodes:
        """Keep the codes that are larger than their latent's threshold."""
        return codes._replace(values=codes.values * (codes.values > self._thresholds[codes.indices]))

    def of_batch(
        self, codes: SparseCodes, groups: Sequence[Group], mask: Bool[Tensor, " token"] | None = None
    ) -> BatchCodes:
        """Keep those codes, with a gradient for the thresholds, and sum `(L0 / k - 1)^2` over the groups.

        L0 is the mean number of a token's active latents. Its gradient reaches the thresholds alone. In training the
        thresholds are first brought to what the batch asks for, while they are in common.
        """
        values = codes.values if mask is None else codes.values * mask[:, None]
        tokens = self.batches.new_full((), len(values)) if mask is None else mask.sum()
        parts = self._parts(values, groups)
        if self.training:
            self._have_in_common(parts, groups, tokens)
        kept, errors = [], []
        for part, indices, group in zip(parts, self._parts(codes.indices, groups), groups, strict=True):
            active, count = _Jump.apply(part, self.log_thresholds, indices, self.bandwidths)
            kept.append(active)
            errors.append((count / tokens.clamp_min(1) / group.k - 1).square())
        return BatchCodes(codes._replace(values=torch.cat(kept, dim=1)), torch.stack(errors).sum())

    @torch.no_grad()
    def reindex(self, order: Int64[Tensor, " latent"]) -> None:
        """Renumber the latents: latent i becomes what latent order[i] was. Thresholds are then in common again."""
        for tensor in (self.log_thresholds, self.bandwidths):
            tensor.copy_(tensor[order])
        self.batches.zero_()

    @torch.no_grad()
    def _have_in_common(self, parts: Sequence[Tensor], groups: Sequence[Group], tokens: Tensor) -> None:
        """While there were few batches, set each group's threshold where the batch has k active latents per token."""
        few = self.batches < self._options.batches_in_common
        for part, group in zip(parts, groups, strict=True):
            least = smallest_kept(part, group.k, tokens).clamp_min(_LEAST_THRESHOLD)
            width = least * self._options.bandwidth
            for tensor, value in ((self.log_thresholds, least.log()), (self.bandwidths, width)):
                latents = tensor[group.start : group.stop]
                latents.copy_(torch.where(few, value, latents))
        self.batches += 1

    @property
    def _thresholds(self) -> Float[Tensor, " latent"]:
        return self.log_thresholds.detach().exp()

    def _parts(self, entries: Tensor, groups: Sequence[Group]) -> tuple[Tensor, ...]:
        return torch.split(entries, [group.k for group in self.candidates(groups)], dim=1)


class _Jump(torch.autograd.Function):
    """`z H(z - threshold)` and how many are active, with the pseudo-derivatives of equations 11 and 12.

    By the threshold t they are `-t / w` and `-1 / w` for scores within w / 2 of t, and 0 for all others; w is the
    bandwidth. Thresholds are stored as logarithms, so both are multiplied by t. By the score z they are those of the
    functions themselves: 1 where it is active, and 0. A candidate of 0 is none, so it counts for nothing.
    """

    @staticmethod
    def forward(ctx, values, log_thresholds, indices, bandwidths):  # type: ignore[no-untyped-def]
        thresholds = log_thresholds.exp()[indices]
        active = values > thresholds
        ctx.latents = len(log_thresholds)
        ctx.save_for_backward(values, thresholds, indices, bandwidths)
        return values * active, active.sum().to(values.dtype)

    @staticmethod
    def backward(ctx, grad_values, grad_count):  # type: ignore[no-untyped-def]
        values, thresholds, indices, bandwidths = ctx.saved_tensors
        width = bandwidths[indices]
        near = ((values - thresholds).abs() < width / 2) & (values > 0)
        pulls = near * -(thresholds / width) * (thresholds * grad_values + grad_count)
        grad_logs = pulls.new_zeros(ctx.latents).scatter_add_(0, indices.flatten(), pulls.flatten())
        return grad_values * (values > thresholds), grad_logs, None, None
