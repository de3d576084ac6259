"""Which latents of a dictionary are found again in other dictionaries."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

FOUND = 0.7
"""Above this cosine two directions count as one (arXiv 2606.12138)."""

Directions = Sequence[Float[Tensor, "latent channel"]]
"""A direction per latent, or several that belong together, one on each side."""


def shares_found(
    dictionaries: Sequence[Directions], alive: Sequence[Bool[Tensor, " latent"]]
) -> list[Float[Tensor, " latent"]]:
    """Give, for every latent of every dictionary, the share of the other dictionaries that it is found in.

    It is found where a living latent has directions that are all as good as its own.

    Args:
        dictionaries: two or more.
        alive: which latents of each live.
    """
    return [
        torch.stack(
            [
                nearest_cosines(ours, theirs, living) > FOUND
                for other, (theirs, living) in enumerate(zip(dictionaries, alive, strict=True))
                if other != own
            ]
        )
        .float()
        .mean(dim=0)
        for own, ours in enumerate(dictionaries)
    ]


def nearest_cosines(
    ours: Directions, theirs: Directions, alive: Bool[Tensor, " other"]
) -> Float[Tensor, " latent"]:
    """Find for each of our latents the nearest living one of theirs; of several directions the least cosine counts.

    Returns:
        The cosine; -1 if none of theirs lives.
    """
    if not alive.any():
        return torch.full((len(ours[0]),), -1.0)
    cosines = [
        normalize(own, dim=1) @ normalize(other[alive], dim=1).T
        for own, other in zip(ours, theirs, strict=True)
    ]
    return torch.stack(cosines).amin(dim=0).amax(dim=1)
