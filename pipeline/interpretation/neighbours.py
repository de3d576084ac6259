"""Which latents of a dictionary resemble each other, by the directions that their decoders write."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES


@dataclass(frozen=True)
class Neighbour:
    """Another latent, and the cosine of its direction with this one's on each side."""

    latent: int
    vision: float
    text: float


@torch.inference_mode()
def nearest_latents(
    sae: SparseAutoencoder, latents: Sequence[int], count: int
) -> dict[int, tuple[Neighbour, ...]]:
    """The `count` latents of highest mean cosine with each of `latents`, among `latents`, the nearest first."""
    order = torch.tensor(list(latents), dtype=torch.int64)
    vision, text = (_cosines(sae.directions(side).cpu()[order]) for side in SIDES)
    likeness = ((vision + text) / 2).fill_diagonal_(-torch.inf)
    chosen = likeness.topk(min(count, max(len(order) - 1, 0)), dim=1).indices.tolist()
    return {
        latent: tuple(
            Neighbour(latents[place], float(vision[row, place]), float(text[row, place]))
            for place in chosen[row]
        )
        for row, latent in enumerate(latents)
    }


def _cosines(directions: Float[Tensor, "latent channel"]) -> Float[Tensor, "latent latent"]:
    unit = normalize(directions, dim=1)
    return unit @ unit.T
