"""Balance: no shared latent may be among the strongest of nearly every picture, or of nearly every caption.

Such a latent says nothing about any of them. The paper's maxfreq finds it (arXiv 2602.07311, 4.5, equation 2), but its
loss does not keep it away. The remedy is that for experts of which one is always chosen (arXiv 1701.06538): a loss in
proportion to how often a latent is chosen, here only beyond what a concept may need.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pipeline.sparse.codes import among_strongest
from pipeline.transport.cost import inverse

_SHARE_OF_BATCH = 0.05
"""How much the newest batch counts in the running frequency: it remembers some 20 batches."""


class LatentFrequency(nn.Module):
    """How often each shared latent of a side is among the strongest of an item, over the last batches of training."""

    frequency: Float[Tensor, " latent"]

    def __init__(self, latents: int) -> None:
        """Watch new latents, which have never fired."""
        super().__init__()
        self.register_buffer("frequency", torch.zeros(latents))

    @torch.no_grad()
    def record(self, pooled: Float[Tensor, "item latent"], k: int, mask: Bool[Tensor, " item"]) -> None:
        """Count a batch's items, each with its k strongest latents.

        Args:
            pooled: mean code of each item's tokens.
            k: how many latents an item has: as many as one of its tokens, as in maxfreq.
            mask: which items have tokens.
        """
        fired = among_strongest(pooled, k)
        share = (fired & mask[:, None]).sum(dim=0) / mask.sum().clamp_min(1)
        self.frequency.lerp_(share.to(self.frequency.dtype), _SHARE_OF_BATCH)


def balance_loss(
    pooled: Float[Tensor, "item latent"], frequency: Float[Tensor, " latent"], most: float
) -> Float[Tensor, ""]:
    """Average, over the items, the share of their codes that too frequent latents have, times how much too frequent.

    0 where no latent is more frequent than `most`. The gradient reaches those latents alone.

    Args:
        pooled: mean code of each item's tokens; 0 of an item without tokens.
        frequency: in how many items each latent is among the strongest, in [0, 1].
        most: up to which frequency a latent is left alone.
    """
    active = pooled.relu()
    excess = (frequency - most).clamp_min(0)
    return (excess * active.sum(dim=0)).sum() * inverse(active.detach().sum())
