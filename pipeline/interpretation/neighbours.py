"""Which latents of a dictionary resemble each other, by the directions that their decoders write."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes


@dataclass(frozen=True)
class Neighbour:
    """Another latent, and the cosine of its direction with this one's on each side."""

    latent: int
    vision: float
    text: float

    @property
    def likeness(self) -> float:
        """Mean of both cosines."""
        return (self.vision + self.text) / 2


@torch.inference_mode()
def nearest_latents(
    sae: SparseAutoencoder, latents: Sequence[int], count: int
) -> dict[int, tuple[Neighbour, ...]]:
    """The `count` latents of highest mean cosine with each of `latents`, among `latents`, the nearest first."""
    order = torch.tensor(list(latents), dtype=torch.int64)
    vision, text = (_cosines(decoder_directions(sae, side).cpu()[order]) for side in ("vision", "text"))
    likeness = ((vision + text) / 2).fill_diagonal_(-torch.inf)
    chosen = likeness.topk(min(count, max(len(order) - 1, 0)), dim=1).indices.tolist()
    return {
        latent: tuple(
            Neighbour(latents[place], float(vision[row, place]), float(text[row, place]))
            for place in chosen[row]
        )
        for row, latent in enumerate(latents)
    }


def decoder_directions(sae: SparseAutoencoder, side: Side) -> Float[Tensor, "shared_latent channel"]:
    """What one unit of each shared latent adds to a side's activations, whatever the architecture."""
    latent = torch.arange(sae.shared_width, device=next(sae.parameters()).device)[:, None]
    one = torch.ones_like(latent, dtype=torch.float32)
    nothing = SparseCodes(one[:1] * 0, latent[:1])
    return sae.decode(side, SparseCodes(one, latent)) - sae.decode(side, nothing)


def _cosines(directions: Float[Tensor, "latent channel"]) -> Float[Tensor, "latent latent"]:
    unit = normalize(directions, dim=1)
    return unit @ unit.T
