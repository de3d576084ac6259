"""The encoders of VL-SAE and of its ablations: from activations to the K strongest latents.

All are `TopK(f(W x + b))` for an f that never decreases, so the inner products are ranked and f is applied to
the K kept ones only: `pipeline.sparse.encode` does the ranking (the lowest of equal latents wins), bounds the memory of
the dense scores, and passes gradients through the kept entries alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.sae.vl_sae.options import EncoderKind
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.encode import sparse_encode
from pipeline.sparse.top_k import Group


def unit_rows(rows: Float[Tensor, "row channel"]) -> Float[Tensor, "row channel"]:
    """Divide every row by its length; a zero row has no direction and stays zero, with a gradient of zero."""
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, torch.inf)


def distance_activation(cosine: Float[Tensor, "*entry"]) -> Float[Tensor, "*entry"]:
    """Compute `2 - sqrt(2 - 2 cos)`: 2 minus the distance of two unit vectors at this cosine; in [0, 2].

    VL-SAE (arXiv 2510.21323). By the triangle inequality the activations of two inputs differ, at any latent, by no
    more than the distance of their directions: what is close together fires alike. So do cosines; but close to a
    latent, where those are flat, the distance still falls as fast as the angle grows.

    The root has no derivative at 0, where a latent points exactly at the input. There, and where rounding puts the
    cosine beyond 1, the gradient is 0, a subgradient of the distance. Short of it the derivative by the cosine
    grows without bound but the one by the unit vectors does not: it is the unit vector along their difference,
    and normalisation leaves of it what is tangent to the sphere, at most 1. In float32 distances below 1e-3
    are lost to the rounding of the cosine; the activation is then within 1e-3 of 2.
    """
    squared = (2 - 2 * cosine).clamp_max(4)
    apart = squared > 0
    return 2 - torch.where(apart, squared, 1).sqrt() * apart


class Encoder(nn.Module):
    """`TopK(f(W x + b))` of `kind`; W is `weight`, [latent, channel].

    "distance" and "cosine" have unit rows in place of W and x and no bias; "affine" and "cosine" are followed by
    a ReLU, so that no code is ever negative.
    A new encoder is drawn as torch draws a linear layer: Kaiming-uniform with a = sqrt 5, U(+-1 / sqrt(channel)).
    """

    bias: nn.Parameter | None

    def __init__(self, kind: EncoderKind, latents: int, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        bound = channels**-0.5
        self.weight = nn.Parameter(
            torch.empty(latents, channels).uniform_(-bound, bound, generator=generator)
        )
        affine = torch.empty(latents).uniform_(-bound, bound, generator=generator)
        self.bias = nn.Parameter(affine) if kind == "affine" else None

    def encode(self, activations: Float[Tensor, "item channel"], k: int) -> SparseCodes:
        """Encode by the k strongest latents of every activation."""
        if self.bias is not None:
            return self._strongest(activations, self.weight, self.bias, k, relu=True)
        directions = unit_rows(self.weight)
        none = torch.zeros_like(directions[:, 0])
        is_distance = self.kind == "distance"
        codes = self._strongest(unit_rows(activations), directions, none, k, relu=not is_distance)
        return SparseCodes(distance_activation(codes.values), codes.indices) if is_distance else codes

    def _strongest(
        self, activations: Tensor, weight: Tensor, bias: Tensor, k: int, *, relu: bool
    ) -> SparseCodes:
        centre = torch.zeros_like(weight[0])
        return sparse_encode(activations, centre, weight, bias, [Group(0, len(weight), k)], relu)
