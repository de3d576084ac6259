"""Principal components as a dictionary: the directions that a side varies most along, which no training has to find."""

import torch
from jaxtyping import Float
from torch import Tensor

from cache import ActivationCache
from pipeline.errors import ConfigError
from pipeline.sae.covariance import covariances
from pipeline.sae.reader import PairReader
from pipeline.sae.sides import Side


def principal_directions(
    cache: ActivationCache, reader: PairReader, latents: int
) -> dict[Side, Float[Tensor, "latent channel"]]:
    """Find each side's principal components over the pairs of a cache, each with both signs, float32, unit length.

    A code is never negative, so a component takes two latents; of the largest codes of a token, as many count as of
    any other dictionary. Latents 2 i and 2 i + 1 are component i, by falling variance.

    Args:
        cache: Where the pairs are, read once.
        reader: What is read of them.
        latents: How many; the components of least variance are left out.

    Raises:
        ConfigError: there are not so many.
        CacheError: the cache cannot be read.
    """
    narrowest = min(reader.channels(cache.manifest))
    if latents > 2 * narrowest:
        raise ConfigError(
            f"sae.latents: {latents} is more than the {2 * narrowest} that {narrowest} principal components have with "
            "both signs; lower it, or let sae.start be random"
        )
    return {side: _both_signs(found.matrix)[:latents] for side, found in covariances(reader, cache).items()}


def _both_signs(covariance: Float[Tensor, "channel channel"]) -> Float[Tensor, "latent channel"]:
    """Hand out the eigenvectors by falling eigenvalue, each first with its largest entry above 0, then negated."""
    vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1).T
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    vectors = vectors * largest.sign()
    return torch.stack([vectors, -vectors], dim=1).flatten(0, 1).float()
