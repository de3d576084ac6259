"""How codes become activations: linear in every dictionary, which is what makes a code a sum of directions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import gather_sum


class LinearDecoder(NamedTuple):
    """`scale (z directions + bias)`, in raw cache units."""

    directions: Float[Tensor, "latent channel"]
    bias: Float[Tensor, " channel"]
    scale: Float[Tensor, ""] | None = None
    """Raw cache units of one scaled unit; None if the decoder's are raw."""

    def decode(self, codes: SparseCodes) -> Float[Tensor, "token channel"]:
        """Reconstruct activations, raw cache units."""
        return self.raw(self.combine(codes) + self.bias)

    def combine(self, codes: SparseCodes) -> Float[Tensor, "token channel"]:
        """Weigh the directions by the codes, scaled units, without the bias. Codes are never written out densely."""
        return gather_sum(codes.values, codes.indices, self.directions)

    def combine_dense(self, codes: Float[Tensor, "item latent"]) -> Float[Tensor, "item channel"]:
        """Weigh the directions by a few codes that are dense anyway, pooled or mixed ones; scaled units, with the bias.

        Codes may be over the first latents only.
        """
        return torch.addmm(self.bias, codes, self.directions[: codes.shape[1]])

    def raw(self, scaled: Float[Tensor, "item channel"]) -> Float[Tensor, "item channel"]:
        """Turn scaled units into raw cache units."""
        return scaled if self.scale is None else scaled * self.scale
