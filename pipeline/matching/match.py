"""The match of a dictionary's sides, found on the pairs of a cache."""

import torch

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.matching.assignment import Matching, assign
from pipeline.matching.coactivation import CoActivation
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES
from pipeline.sparse.codes import max_pool_codes


@torch.no_grad()
def match_sides(sae: SparseAutoencoder, cache: ActivationCache, batch_pairs: int) -> Matching:
    """Match the latents of the sides by how they fire together over the pairs of a cache.

    A pair's code of a side is the largest code of its patches, or of its tokens, latent by latent. Match on the pairs
    that the dictionary was trained on, never on those it is judged by.

    Args:
        sae: a dictionary with an encoder for each side.
        cache: where the pairs are.
        batch_pairs: pairs read at a time.

    Raises:
        RunError: there are fewer pairs than latents, or a side has no latent that fires.
        CacheError: the cache cannot be read.
    """
    latents = sae.shared_width + sae.private_width
    refuse_too_few_pairs(cache, latents)
    device = next(sae.parameters()).device
    moments = CoActivation(latents, latents, device)
    for batch in cache.iterate(batch_pairs):
        pairs = sae.reader.pairs(batch).to(device)
        codes = (
            max_pool_codes(sae.encode(side, pairs.rows(side)), pairs.owners(side), len(pairs), latents)
            for side in SIDES
        )
        moments.update(*codes)
    fired = moments.fired()
    for side, alive in zip(SIDES, fired, strict=True):
        if not alive.any():
            raise RunError(f"no latent of {side} fires on any pair of {cache}, so there is nothing to match")
    return assign(moments.correlation(), *fired)


def refuse_too_few_pairs(cache: ActivationCache, latents: int) -> None:
    """Refuse a cache with fewer pairs than a side has latents, where correlations mean nothing.

    Raises:
        RunError: it has fewer.
    """
    if cache.pairs < latents:
        raise RunError(
            f"{cache}: has {cache.pairs} pairs, too few to match {latents} latents a side; encode more pairs, or "
            "lower sae.latents"
        )


def join_sides(sae: SparseAutoencoder, matching: Matching) -> None:
    """Renumber the latents of both sides, so that those which belong together have one number."""
    sae.reindex("vision", torch.from_numpy(matching.vision))
    sae.reindex("text", torch.from_numpy(matching.text))
    sae.confidence.copy_(torch.from_numpy(matching.confidence))
