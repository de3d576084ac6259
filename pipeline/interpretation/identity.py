"""Which dictionary and which cache a table of latents describes."""

import hashlib
from collections.abc import Mapping
from typing import Any

from cache import ActivationCache
from pipeline.sae.base import SparseAutoencoder


def dictionary_sha256(sae: SparseAutoencoder) -> str:
    """SHA-256 of a dictionary's weights and buffers, by name: it tells a retrained dictionary from the one before."""
    digest = hashlib.sha256()
    for name, tensor in sorted(sae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describes(metadata: Mapping[str, Any], sae: SparseAutoencoder, cache: ActivationCache) -> bool:
    """Whether the metadata of a table of latents are those of this dictionary on this cache."""
    described = (metadata.get("dictionary_sha256"), metadata.get("cache_sha256"))
    return described == (dictionary_sha256(sae), cache.manifest.sha256)
