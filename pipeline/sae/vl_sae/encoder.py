"""The encoders of VL-SAE and of its ablations: from activations to the K strongest latents.

All are `TopK(f(W x + b))` for an f that never decreases, so the inner products are ranked and f is applied to
the K kept ones only: `pipeline.sparse.encode` does the ranking (the lowest of equal latents wins), bounds the memory of
the dense scores, and passes gradients through the kept entries alone.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.sae.vl_sae.options import EncoderKind
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.encode import sparse_encode
from pipeline.sparse.top_k import Group, top_k


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

    def encode(
        self,
        activations: Float[Tensor, "item channel"],
        k: int,
        left_out: Bool[Tensor, "item latent"] | None = None,
    ) -> SparseCodes:
        """Encode by the k strongest latents of every activation, of those that are not left out."""
        weight: Tensor = self.weight
        if self.bias is None:
            activations, weight = unit_rows(activations), unit_rows(weight)
        bias = torch.zeros_like(weight[:, 0]) if self.bias is None else self.bias
        is_distance = self.kind == "distance"
        codes = _strongest(activations, weight, bias, k, left_out, relu=not is_distance)
        if is_distance:
            codes = SparseCodes(distance_activation(codes.values), codes.indices)
        if left_out is None:
            return codes
        return SparseCodes(codes.values * ~left_out.gather(1, codes.indices), codes.indices)


def _strongest(
    activations: Tensor, weight: Tensor, bias: Tensor, k: int, left_out: Tensor | None, *, relu: bool
) -> SparseCodes:
    group = Group(0, len(weight), k)
    if left_out is None:
        return sparse_encode(activations, torch.zeros_like(weight[0]), weight, bias, [group], relu)
    with torch.autocast(activations.device.type, enabled=False):
        scores = F.linear(activations, weight, bias)
    lowest = torch.finfo(scores.dtype).min
    _, indices = top_k(scores.detach().masked_fill(left_out, lowest), [group])
    values = scores.gather(1, indices)
    return SparseCodes(values.relu() if relu else values, indices)
