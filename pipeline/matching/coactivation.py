"""How often a latent of one side is active where a latent of the other is: moments over pairs, in one pass.

What happens together is a picture and its caption, each with one code; or a patch and a token, as much as a plan says.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pipeline.matching.deviation import inverse_deviation
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.barycentric import mix_codes_to_text
from pipeline.transport.plan import TransportPlan


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

    def update_through(self, plan: TransportPlan, vision: SparseCodes, text: SparseCodes) -> None:
        """Add every patch with every token of its pair, by the mass that the plan moves between them.

        With x and y the codes of a patch and a token, and T the plan, pairs add `sum_pt T x`, `sum_pt T x^2`, those of
        y, and `sum_pt T x y`. The last is taken token by token: of T x, what the plan mixes for it, and y.

        Args:
            plan: of the pairs.
            vision: codes [pair * patch, k] of shared latents only.
            text: codes [token, k], packed, likewise.
        """
        mass = plan.plan.double()
        of_patches, of_tokens = (
            mass.sum(dim=2).flatten(),
            mass.sum(dim=1)[plan.tokens.pair, plan.tokens.place],
        )
        self._pairs += float(mass.sum())
        for side, codes, weights in ((0, vision, of_patches), (1, text, of_tokens)):
            latents, values = codes.indices.flatten(), codes.values.double()
            self._sums[side].index_add_(0, latents, (weights[:, None] * values).flatten())
            self._squares[side].index_add_(0, latents, (weights[:, None] * values.square()).flatten())
            self._fired[side][codes.indices[(values != 0) & (weights > 0)[:, None]]] = True
        mixed = mix_codes_to_text(plan, vision, len(self._sums[0])).double()
        self._products.addmm_((of_tokens[:, None] * mixed).T, text.dense(len(self._sums[1])).double())

    def fired(self) -> tuple[Bool[np.ndarray, "vision_latent"], Bool[np.ndarray, "text_latent"]]:
        """Tell which latents of vision and of text were active anywhere."""
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
