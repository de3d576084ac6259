"""One pass over a cache: which concepts each latent dominates, and where it fires most."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from cache import ActivationCache, PairBatch
from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.interpretation.levels import Level
from pipeline.interpretation.matching import ConceptIndex, count_hits
from pipeline.interpretation.options import InterpretOptions
from pipeline.interpretation.peaks import TopPeaks, first_pairs
from pipeline.progress import Advance


class Scan:
    """What one pass over a cache gathers of the latents of one level.

    Attributes:
        hits: int64 `[latent, concept]`.
        images: the pictures on which each latent fires most.
        captions: likewise captions.
    """

    def __init__(self, level: Level, concepts: ConceptCodes, options: InterpretOptions) -> None:
        self._level, self._threshold = level, options.threshold
        self._index = ConceptIndex(concepts, options.reference)
        shape = len(level), len(concepts.codes)
        self.hits = torch.zeros(shape, dtype=torch.int64, device=level.device)
        self.images = TopPeaks(len(level), options.top_images, level.device)
        self.captions = TopPeaks(len(level), options.top_captions, level.device)

    def add(self, batch: PairBatch, new: Bool[Tensor, " pair"]) -> None:
        """Take in a batch of pairs, of which those of `new` are the first of their picture."""
        pair = batch.pair.to(self._level.device)
        codes, in_images = self._level.of_images(batch, new)
        found = self._index.match(codes, in_images.activation, self._threshold)
        self.hits += count_hits(found, *self.hits.shape)
        self.images.add(in_images, pair[new.to(pair.device)])
        self.captions.add(self._level.of_captions(batch), pair)


@torch.inference_mode()
def scan_cache(
    levels: Sequence[Level],
    cache: ActivationCache,
    concepts: Sequence[ConceptCodes],
    options: InterpretOptions,
    progress: Advance | None = None,
) -> list[Scan]:
    """Match every image with every concept and keep the strongest images and captions of each latent, level by level.

    Memory is that of `options.batch_pairs` pairs, of the counts `[latent, concept]` and of the items kept, however many
    images there are; the result does not depend on the batches. To a dictionary of pooled embeddings an image is one
    patch and a caption one token, and so it is to image-level latents.

    Raises:
        RunError: an activation or a code is not finite.
    """
    scans = [Scan(level, codes, options) for level, codes in zip(levels, concepts, strict=True)]
    new_image = torch.from_numpy(np.isin(np.arange(cache.pairs), first_pairs(cache)))
    done = 0
    for batch in cache.iterate(options.batch_pairs):
        for scan in scans:
            scan.add(batch, new_image[batch.pair])
        done += len(batch.pair)
        if progress is not None:
            progress(done, cache.pairs)
    return scans
