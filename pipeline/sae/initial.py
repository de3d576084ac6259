"""A dictionary as training begins with it."""

from cache import ActivationCache
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.principal import principal_directions
from pipeline.sae.reader import READERS
from pipeline.sae.registry import build_sae
from pipeline.sae.whitening import Whitening


def initial_sae(options: ArchitectureOptions, cache: ActivationCache, seed: int) -> SparseAutoencoder:
    """Build an SAE as wide as what it reads of the cache, with weights drawn from `seed`, and initialise it.

    With `whitening` it learns from whitened activations; `fold_whitening` is due when it has learned. Its directions
    are principal components instead if its options say so.

    Raises:
        ConfigError: the widths do not fit the options.
        CacheCorruptError, CacheAccessError: pooled embeddings, the means of positions, or what is whitened or has
            components cannot be read.
    """
    reader = READERS[options.reads]
    manifest = cache.manifest
    positions = (manifest.patches, manifest.context_length)
    sae = build_sae(options, *reader.channels(manifest), seed, manifest.embedding, positions)
    if sae.centring is not None:
        sae.centring.fit(cache)
    if options.whitening is None:
        sae.initialise(sae.reader.statistics(cache))
    else:
        sae.whitening = Whitening(options.whitening.shrinkage, (sae.vision_channels, sae.text_channels))
        sae.initialise(sae.whitening.fit(sae.reader, cache))
    if options.starts_at_components:
        for side, directions in principal_directions(cache, sae.reader, options.latents).items():
            sae.begin_with(side, directions)
    return sae
