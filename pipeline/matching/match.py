"""The match of a dictionary's sides, found on the pairs of a cache."""

import numpy as np
import torch

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.matching.assignment import Matching, assign
from pipeline.matching.coactivation import CoActivation
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.crossing import transport_plan
from pipeline.sae.options import MatchedBy
from pipeline.sae.sides import SIDES


@torch.no_grad()
def match_sides(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    batch_pairs: int,
    advance: Advance = lambda done, total: None,
    by: MatchedBy = "pair",
) -> Matching:
    """Match the shared latents of the sides by how they fire together over the pairs of a cache; all if held apart.

    Match on the pairs that the dictionary was trained on, never on those it is judged by.

    Args:
        sae: a dictionary with an encoder for each side.
        cache: where the pairs are.
        batch_pairs: pairs read at a time.
        advance: receives (pairs read, pairs in all).
        by: what fires together: a picture and its caption by the largest code of each, latent by latent; or, by
            "plan", a patch and a token as much as the dictionary's own transport plan moves between them, which means
            something only of a dictionary whose latents are shared already.

    Raises:
        RunError: there are fewer pairs than latents, a side has no latent that fires, or codes are not finite.
        CacheError: the cache cannot be read.
    """
    latents = sae.options.latents if sae.apart else sae.shared_width
    refuse_too_few_pairs(cache, latents)
    device = next(sae.parameters()).device
    moments, seen = CoActivation(latents, latents, device), 0
    for batch in cache.iterate(batch_pairs):
        pairs = sae.learned_from(batch).to(device)
        vision, text = (sae.encode(side, pairs.rows(side), "shared") for side in SIDES)
        if by == "plan":
            plan = transport_plan(sae, vision, text, pairs.text_offsets, pairs.patches)
            moments.update_through(plan, vision, text)
        else:
            moments.update(
                pairs.largest_codes("vision", vision, latents), pairs.largest_codes("text", text, latents)
            )
        seen += len(pairs)
        advance(seen, cache.pairs)
    fired = moments.fired()
    for side, alive in zip(SIDES, fired, strict=True):
        if not alive.any():
            raise RunError(f"no latent of {side} fires on any pair of {cache}, so there is nothing to match")
    correlation = moments.correlation()
    if not np.isfinite(correlation).all():
        raise RunError(
            "the sides cannot be matched: their codes are not finite; lower train.learning_rate or train.weight_decay"
        )
    return assign(correlation, *fired)


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
    """Renumber the matched latents of both sides, so that those which belong together have one number."""
    matched = len(matching.confidence)
    others = torch.arange(matched, sae.options.latents)
    for side, order in zip(SIDES, (matching.vision, matching.text), strict=True):
        sae.reindex(side, torch.cat([torch.from_numpy(order), others]))
    sae.confidence[:matched] = torch.from_numpy(matching.confidence)
