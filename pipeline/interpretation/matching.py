"""Where images show concepts: LUCID (arXiv 2602.07311) 3.5.1 stage 2 and algorithm 1, stage 3."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.interpretation.options import Reference
from pipeline.sparse.codes import SparseCodes

_ELEMENTS_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Bounds every intermediate, whatever the batch: on a CPU to 4 MiB of float32, which its caches hold."""

_ROUNDING = 1e-5
"""By how much a bound is raised, relative to it, so that the order of a float32 sum cannot make it too low."""


class Hits(NamedTuple):
    """The concepts found in a batch of images, image after image; one hit is one concept in one image.

    Attributes:
        image: int64 `[hit]`, the image's place in the batch.
        concept: int64 `[hit]`.
        confidence: float32 `[hit]`, beyond the threshold.
        patch: int64 `[hit]`, the concept's peak patch (lowest on ties).
        latent: int64 `[hit]`, the dominant shared latent at that patch (lowest on ties).
    """

    image: Int[Tensor, "hit"]
    concept: Int[Tensor, "hit"]
    confidence: Float[Tensor, "hit"]
    patch: Int[Tensor, "hit"]
    latent: Int[Tensor, "hit"]


class ConceptIndex:
    """A concept list made ready for matching: per concept the latents that it uses.

    The activation map `A_c(p) = sum_m min(z_p,m, z_c,m) idf_m` of every concept over every patch is most of the work
    of interpretation, and nearly all of it is thrown away, since only a peak beyond the threshold counts. No patch
    exceeds the map of the image's largest activations, `sum_m min(max_p z_p,m, z_c,m) idf_m`. That bound costs one
    row per image and leaves only few concepts whose map must be computed. The hits are exactly the same.
    """

    def __init__(self, concepts: ConceptCodes, reference: Reference) -> None:
        weighted = concepts.codes * concepts.idf
        most = max(1, int((weighted > 0).sum(dim=1).max()))
        self._values, latents = weighted.topk(most, dim=1)
        # Unused places name a latent with value 0, so their overlap is 0; ascending, so that ties go to the lowest.
        self._latents, order = latents.sort(dim=1)
        self._values = self._values.gather(1, order)
        self._idf = concepts.idf
        self._reference = reference_weights(concepts, reference)

    def match(
        self,
        codes: SparseCodes,
        largest: Float[Tensor, "image latent"],
        threshold: float,
    ) -> Hits:
        """Find the concepts whose confidence exceeds `threshold` in an image, with their peaks.

        The paper thresholds a "peak confidence" without saying what it is a share of **[open]**. Here it is the peak
        of the concept's activation map divided by its `reference_weights`.

        Args:
            codes: Shared codes of all patches, image after image, equally many patches each. Negative activations
                (a dictionary without a relu has some) share nothing with a concept.
            largest: float32, the largest activation of every latent in every image, 0 where none is positive
                (`Peaks.activation`).
            threshold: At least 0.
        """
        images, latents = largest.shape
        if images == 0:
            nothing = torch.zeros(0, dtype=torch.int64, device=largest.device)
            return Hits(nothing, nothing, largest.new_zeros(0), nothing, nothing)
        patches = len(codes.values) // images
        at_once = self._at_once(max(latents * patches, self._values.numel()))
        found = [
            self._match_few(
                SparseCodes(*(part[first * patches : (first + at_once) * patches] for part in codes)),
                largest[first : first + at_once],
                threshold,
                first,
            )
            for first in range(0, images, at_once)
        ]
        return Hits(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _match_few(
        self, codes: SparseCodes, largest: Float[Tensor, "image latent"], threshold: float, first: int
    ) -> Hits:
        image, concept = torch.nonzero(self._possible(largest, threshold), as_tuple=True)
        maps = self._weighted_maps(codes, *largest.shape)
        peaks = [
            self._peaks(maps, image[chunk], concept[chunk], largest.shape[1])
            for chunk in self._chunks(len(image), maps.shape[1])
        ]
        peak, patch, latent = (torch.cat(parts) for parts in zip(*peaks, strict=True))
        hit = peak > threshold * self._reference[concept]
        confidence = peak[hit] / self._reference[concept[hit]]
        return Hits(image[hit] + first, concept[hit], confidence, patch[hit], latent[hit])

    def _possible(
        self, largest: Float[Tensor, "image latent"], threshold: float
    ) -> Bool[Tensor, "image concept"]:
        """Whether a concept's bound in an image reaches the threshold."""
        present = (largest * self._idf)[:, self._latents.flatten()].view(len(largest), *self._latents.shape)
        bound = torch.minimum(present, self._values, out=present).sum(dim=2)
        return bound * (1 + _ROUNDING) > threshold * self._reference

    def _weighted_maps(
        self, codes: SparseCodes, images: int, latents: int
    ) -> Float[Tensor, "image_latent patch"]:
        """`z_p,m idf_m`, a row of patches for every latent of every image."""
        patches = len(codes.values) // images
        values = codes.values.clamp(min=0) * self._idf[codes.indices]
        token = torch.arange(len(values), device=values.device)
        image, patch = token // patches, token % patches
        slots = (image[:, None] * latents + codes.indices) * patches + patch[:, None]
        # Added and not written: an inactive entry (value 0) may name a latent that another entry fires.
        flat = values.new_zeros(images * latents * patches).scatter_add_(0, slots.flatten(), values.flatten())
        return flat.view(images * latents, patches)

    def _peaks(
        self,
        maps: Float[Tensor, "image_latent patch"],
        image: Int[Tensor, "pair"],
        concept: Int[Tensor, "pair"],
        latents: int,
    ) -> tuple[Float[Tensor, "pair"], Int[Tensor, "pair"], Int[Tensor, "pair"]]:
        """Peak of the activation map, its patch and its dominant latent, for pairs of an image and a concept."""
        used = self._latents[concept]
        rows = maps.index_select(0, (image[:, None] * latents + used).flatten())
        overlap = rows.view(*used.shape, maps.shape[1])
        torch.minimum(overlap, self._values[concept][:, :, None], out=overlap)
        activation = overlap.sum(dim=1)
        patch = activation.argmax(dim=1, keepdim=True)
        at_peak = overlap.gather(2, patch[:, None].expand(-1, used.shape[1], 1)).squeeze(2)
        dominant = used.gather(1, at_peak.argmax(dim=1, keepdim=True))
        return activation.gather(1, patch).squeeze(1), patch.squeeze(1), dominant.squeeze(1)

    def _chunks(self, pairs: int, patches: int) -> Iterator[slice]:
        size = self._at_once(self._latents.shape[1] * patches)
        return (slice(start, start + size) for start in range(0, max(pairs, 1), size))

    def _at_once(self, elements: int) -> int:
        return max(1, _ELEMENTS_AT_ONCE[self._values.device.type] // max(elements, 1))


def reference_weights(concepts: ConceptCodes, reference: Reference) -> Float[Tensor, "concept"]:
    """What a peak is a share of, per concept; infinite for a concept without a weighted code, which nothing shows.

    `weight_c = sum_m z_c,m idf_m` is the largest value that the activation map of concept c can take. "own" divides
    by it, so that 1 is a patch that holds the concept's whole code however faint that is; "typical" divides by the
    list's median weight, which is the paper's plain threshold on the map in a unit that fits any dictionary: a concept
    that the shared latents hardly express needs as much of a patch as every other, and may be unable to hit.
    """
    weight = concepts.weight
    expressed = weight[weight > 0]
    if reference == "typical" and len(expressed):
        return torch.where(weight > 0, expressed.median(), torch.inf)
    return torch.where(weight > 0, weight, torch.inf)


def count_hits(hits: Hits, latents: int, concepts: int) -> Int[Tensor, "latent concept"]:
    """How many images put each concept on each latent's list."""
    slots = hits.latent * concepts + hits.concept
    return torch.bincount(slots, minlength=latents * concepts).view(latents, concepts)
