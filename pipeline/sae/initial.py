"""A dictionary as training begins with it."""

from cache import ActivationCache
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.reader import READERS
from pipeline.sae.registry import build_sae


def initial_sae(options: ArchitectureOptions, cache: ActivationCache, seed: int) -> SparseAutoencoder:
    """Build an SAE as wide as what it reads of the cache, with weights drawn from `seed`, and initialise it.

    Raises:
        ConfigError: the widths do not fit the options.
        CacheCorruptError, CacheAccessError: pooled embeddings cannot be read.
    """
    reader = READERS[options.reads]
    sae = build_sae(options, *reader.channels(cache.manifest), seed, cache.manifest.embedding)
    sae.initialise(reader.statistics(cache))
    return sae
