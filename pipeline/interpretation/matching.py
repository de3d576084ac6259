"""Where images show concepts: LUCID (arXiv 2602.07311) 3.5.1 stage 2 and algorithm 1, stage 3."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.sae.codes import SparseCodes


class Matches(NamedTuple):
    """The best place of every concept in every image.

    Attributes:
        confidence: float32 `[image, concept]` in [0, 1]; see `match`.
        patch: int64 `[image, concept]`, the peak patch (lowest on ties).
        latent: int64 `[image, concept]`, the dominant shared latent at that patch.
    """

    confidence: Float[Tensor, "image concept"]
    patch: Int[Tensor, "image concept"]
    latent: Int[Tensor, "image concept"]


class ConceptIndex:
    """Concepts listed by the latents that they use, so that a patch meets only concepts it shares a latent with.

    A patch has k active latents and a latent belongs to few concepts, which makes this about a hundred times
    less work than comparing every patch with every concept (1,200 concepts, 1,536 latents, k 16).
    """

    def __init__(self, concepts: ConceptCodes) -> None:
        by_latent = concepts.codes.T
        used = by_latent > 0
        self._concept = torch.nonzero(used, as_tuple=True)[1]
        self._value = by_latent[used]
        self._count = used.sum(dim=1)
        self._start = torch.cumsum(self._count, dim=0) - self._count
        self._codes = concepts.codes
        self._idf = concepts.idf
        self._weight = concepts.weight

    def activation_maps(self, codes: SparseCodes) -> Float[Tensor, "patch concept"]:
        """`A_i(p) = sum_m min(z_p,m, z_c,m) idf_m` for every patch and concept, from the patches' shared codes."""
        value, latent = codes.values.flatten(), codes.indices.flatten()
        count = self._count[latent]
        slot = torch.repeat_interleave(count)
        first = torch.cumsum(count, dim=0) - count
        entry = torch.arange(len(slot), device=value.device) - first[slot] + self._start[latent][slot]
        overlap = torch.minimum(value[slot], self._value[entry]) * self._idf[latent][slot]
        patches, k = codes.values.shape
        concepts = len(self._codes)
        target = slot.div(k, rounding_mode="floor") * concepts + self._concept[entry]
        return value.new_zeros(patches * concepts).index_add_(0, target, overlap).view(patches, concepts)

    def match(self, codes: SparseCodes, images: int) -> Matches:
        """Find each concept's peak patch in each image, and the latent that contributes most there.

        The paper thresholds a "peak confidence" without saying what it is a share of **[open]**. Here it is the
        peak of the activation map divided by the largest value the map could take, `sum_m z_c,m idf_m`: 1 where a
        patch holds the concept's whole code. So one threshold serves concepts with strong and with weak codes.

        Args:
            codes: Shared codes of all patches, image after image.
            images: Number of images; each has equally many patches.
        """
        if images == 0:
            empty = torch.zeros(0, len(self._codes), device=codes.values.device)
            return Matches(empty, empty.long(), empty.long())
        maps = self.activation_maps(codes).view(images, -1, len(self._codes))
        patch = maps.argmax(dim=1)
        peak = maps.gather(1, patch[:, None]).squeeze(1)
        weight = self._weight.clamp(min=torch.finfo(peak.dtype).tiny)
        return Matches(peak / weight, patch, self._dominant_latents(codes, patch, maps.shape[1]))

    def _dominant_latents(
        self, codes: SparseCodes, patch: Int[Tensor, "image concept"], patches: int
    ) -> Int[Tensor, "image concept"]:
        row = torch.arange(len(patch), device=patch.device)[:, None] * patches + patch
        values, latents = codes.values[row], codes.indices[row]
        concept = torch.arange(len(self._codes), device=patch.device)[None, :, None]
        overlap = torch.minimum(values, self._codes[concept, latents]) * self._idf[latents]
        return latents.gather(2, overlap.argmax(dim=2, keepdim=True)).squeeze(2)


def count_hits(matches: Matches, threshold: float, latents: int) -> Int[Tensor, "latent concept"]:
    """How many images put each concept on each latent's list: one hit wherever confidence exceeds `threshold`."""
    concepts = matches.confidence.shape[1]
    image, concept = torch.nonzero(matches.confidence > threshold, as_tuple=True)
    slots = matches.latent[image, concept] * concepts + concept
    return torch.bincount(slots, minlength=latents * concepts).view(latents, concepts)
