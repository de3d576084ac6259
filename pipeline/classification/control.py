"""The control beside trained dictionaries: the same ones before the first step of training."""

from cache import ActivationCache
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.registry import build_sae


def before_training(sae: SparseAutoencoder, cache: ActivationCache, count: int) -> list[SparseAutoencoder]:
    """Draw dictionaries like `sae` from the seeds 0, 1, ..., as training on `cache` begins with them.

    The scales and means that they take from the cache are included.
    """
    statistics = sae.reader.statistics(cache)
    drawn = []
    for seed in range(count):
        new = build_sae(sae.options, sae.vision_channels, sae.text_channels, seed)
        new.centring = sae.centring
        new.initialise(statistics)
        drawn.append(new.eval())
    return drawn
