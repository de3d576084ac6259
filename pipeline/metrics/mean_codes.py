"""What a dictionary makes of a side in the mean, from pairs that it is not judged by."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32

from cache import ActivationCache
from pipeline.metrics.item_codes import caption_codes, image_codes
from pipeline.metrics.options import Pooling
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side


@torch.inference_mode()
def mean_codes(
    sae: SparseAutoencoder, cache: ActivationCache, count: int, batch_pairs: int, pooling: Pooling
) -> Mapping[Side, Float32[np.ndarray, "item_latent"]]:
    """Average the pooled shared codes of pairs of a cache, by side.

    Args:
        sae: the dictionary.
        cache: its training pairs.
        count: pairs to take, spread evenly over the cache; all if it has no more.
        batch_pairs: pairs read at a time.
        pooling: how token codes become an item's.

    Raises:
        CacheError: the cache cannot be read.
    """
    chosen = np.arange(0, cache.pairs, max(1, cache.pairs // count))[:count]
    device = next(sae.parameters()).device
    totals = {side: torch.zeros(sae.item_width, dtype=torch.float64, device=device) for side in SIDES}
    for batch in cache.iterate(batch_pairs, chosen):
        pairs = sae.reader.pairs(batch).to(device)
        rows, offsets = ({side: part(side) for side in SIDES} for part in (pairs.rows, pairs.offsets))
        embeddings = batch.vision_pooled.to(device)
        images = image_codes(sae, rows["vision"], offsets["vision"], embeddings, pooling)
        totals["vision"] += images.double().sum(dim=0)
        totals["text"] += caption_codes(sae, rows["text"], offsets["text"], pooling).double().sum(dim=0)
    return {side: (total / max(1, len(chosen))).float().cpu().numpy() for side, total in totals.items()}
