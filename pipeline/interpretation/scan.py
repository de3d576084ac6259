"""One pass over a cache: which concepts each latent dominates, and where it fires most."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cache import ActivationCache
from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.interpretation.matching import ConceptIndex, count_hits
from pipeline.interpretation.options import InterpretOptions
from pipeline.interpretation.peaks import TopPeaks, first_pairs, image_peaks, peaks
from pipeline.not_finite import refuse_not_finite
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes


class Scan(NamedTuple):
    """What one pass over a cache gathers: hits `[latent, concept]`, and the peaks on both sides."""

    hits: Int[Tensor, "latent concept"]
    images: TopPeaks
    captions: TopPeaks


@torch.inference_mode()
def scan_cache(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    concepts: ConceptCodes,
    options: InterpretOptions,
    progress: Advance | None = None,
) -> Scan:
    """Match every image with every concept and keep the strongest images and captions of each latent.

    Memory is that of `options.batch_pairs` pairs, of the counts `[latent, concept]` and of the items kept, however many
    images there are; the result does not depend on the batches. To a dictionary of pooled embeddings an image is one
    patch and a caption one token.

    Raises:
        RunError: an activation or a code is not finite.
    """
    device = concepts.codes.device
    width = sae.shared_width
    index = ConceptIndex(concepts, options.reference)
    hits = torch.zeros(width, len(concepts.codes), dtype=torch.int64, device=device)
    images = TopPeaks(width, options.top_images, device)
    captions = TopPeaks(width, options.top_captions, device)
    new_image = torch.from_numpy(np.isin(np.arange(cache.pairs), first_pairs(cache)))
    done = 0
    for batch in cache.iterate(options.batch_pairs):
        pairs = sae.reader.pairs(batch)
        new = new_image[batch.pair]
        activations = pairs.vision[new].to(device)
        codes = _encode(sae, "vision", activations.flatten(0, 1), batch.pair)
        in_images = image_peaks(codes, len(activations), width)
        found = index.match(codes, in_images.activation, options.threshold)
        hits += count_hits(found, width, len(concepts.codes))
        images.add(in_images, batch.pair[new].to(device))
        codes = _encode(sae, "text", pairs.text.to(device), batch.pair)
        captions.add(peaks(codes, pairs.text_offsets.to(device), width), batch.pair.to(device))
        done += len(batch.pair)
        if progress is not None:
            progress(done, cache.pairs)
    return Scan(hits, images, captions)


def _encode(sae: SparseAutoencoder, side: Side, activations: Tensor, pairs: Tensor) -> SparseCodes:
    """Shared codes; refused unless they and the activations are finite."""
    codes = sae.encode(side, activations, "shared")
    for what, values in (("activations", activations), ("codes", codes.values)):
        refuse_not_finite(f"the {side} {what} of the pairs {int(pairs[0])} to {int(pairs[-1])}", values)
    return codes
