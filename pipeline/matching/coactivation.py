"""How often a latent of one side is active where a latent of the other is: moments over pairs, in one pass."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pipeline.matching.deviation import inverse_deviation


class CoActivation:
    """First and second moments of two sides' codes over pairs, float64, and which latents fired.

    Memory is that of one matrix [vision_latent, text_latent], however many pairs there are, and of a second one for
    the correlations: 8 MB each at 1,024 latents a side, 302 MB at 6,144.
    """

    def __init__(self, vision_latents: int, text_latents: int, device: torch.device) -> None:
        self._pairs = 0.0
        self._sums = [
            torch.zeros(n, dtype=torch.float64, device=device) for n in (vision_latents, text_latents)
        ]
        self._squares = [torch.zeros_like(total) for total in self._sums]
        self._fired = [torch.zeros_like(total, dtype=torch.bool) for total in self._sums]
        self._products = torch.zeros(vision_latents, text_latents, dtype=torch.float64, device=device)

    def update(
        self, vision: Float[Tensor, "pair vision_latent"], text: Float[Tensor, "pair text_latent"]
    ) -> None:
        """Add one code of either side per pair."""
        self._pairs += len(vision)
        for side, codes in enumerate((vision.double(), text.double())):
            self._sums[side] += codes.sum(dim=0)
            self._squares[side] += codes.square().sum(dim=0)
            self._fired[side] |= (codes != 0).any(dim=0)
        self._products.addmm_(vision.double().T, text.double())

    def fired(self) -> tuple[Bool[np.ndarray, "vision_latent"], Bool[np.ndarray, "text_latent"]]:
        """Tell which latents of vision and of text were active for any pair."""
        vision, text = (fired.cpu().numpy() for fired in self._fired)
        return vision, text

    def correlation(self) -> Float64[np.ndarray, "vision_latent text_latent"]:
        """Compute Pearson's correlation of every latent of vision with every latent of text, with its sign.

        It is 0 where a latent does not vary over the pairs.
        """
        pairs = max(self._pairs, 1.0)
        means = [total / pairs for total in self._sums]
        covariance = (self._products / pairs).addr_(*means, alpha=-1)
        vision, text = (
            inverse_deviation(squares / pairs, mean)
            for squares, mean in zip(self._squares, means, strict=True)
        )
        correlation = covariance.mul_(vision[:, None]).mul_(text).clamp_(-1, 1)
        return correlation.cpu().numpy()
