"""Features of the items of a cache that state their true concepts."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cache import ActivationCache, PairBatch
from pipeline.metrics.truth import read_truth
from pipeline.progress import Advance
from pipeline.sae.sides import SIDES, Side


class ToldItems(NamedTuple):
    """The items of one side that state their concepts: each image once, and every pair's caption."""

    features: Float[np.ndarray, "item feature"]
    concepts: list[list[str]]


def read_told_items(
    cache: ActivationCache,
    batch_pairs: int,
    features: Callable[[PairBatch], Mapping[Side, Tensor]],
    progress: Advance | None = None,
) -> dict[Side, ToldItems]:
    """Read the items of both sides.

    Args:
        cache: Whose items; there are none where it does not state concepts.
        batch_pairs: Pairs in memory at once, beside the features of all items.
        features: Makes [pair, feature] of a batch, by side.
        progress: Receives (pairs done, pairs in all) after every batch.

    Raises:
        CacheError: the cache cannot be read.
    """
    truth = read_truth(cache.samples)
    held: dict[Side, dict[int, list[str]]] = {
        "vision": {pair: image["image_concepts"] for pair, image in truth.images.items()},
        "text": truth.captions,
    }
    found: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
    done = 0
    for batch in cache.iterate(batch_pairs):
        made = features(batch)
        for side in SIDES:
            kept = [pair in held[side] for pair in batch.pair.tolist()]
            found[side].append(made[side].cpu().numpy()[kept])
        done += len(batch.pair)
        if progress:
            progress(done, cache.pairs)
    return {side: ToldItems(np.concatenate(found[side]), list(held[side].values())) for side in SIDES}
