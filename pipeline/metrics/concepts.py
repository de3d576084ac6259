"""Concept recovery on a data set whose samples state their true concepts, as "kind:value" (`noun:boat`)."""

from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool

from pipeline.datasets.geometry import ResizeMode
from pipeline.metrics.concept_scores import score_concepts
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.metrics.patches import has_masks, patch_average_precision, patch_labels
from pipeline.metrics.recovery import BestLatents
from pipeline.metrics.truth import NOT_TOLD, Truth, asked_concepts, none_asked
from pipeline.sae.sides import SIDES, Side

_NO_PATCHES = NotDefined("the dictionary has no codes of patches")


class ConceptMeter(Meter):
    """The `concepts` part of metrics.json: collects codes batch by batch and scores them at the end.

    Items are images (each once, however many captions it has) and captions. Kept until the end: a dense pooled
    float32 vector of shared latents per item, and the sparse shared codes of the patches of images with masks.

    Args:
        truth: What is true of the cache's images and captions.
        grid: Rows and columns of the patch grid; None if codes are of whole images, which have no patch to score.
        resize_mode: How the backbone fits an image to its input.
        pooling: How token codes become an item's code.
        least: Items with a concept, and without it, that each side needs for the concept to be asked.
        seed: Shuffles the labels for the chance level.
    """

    def __init__(
        self,
        truth: Truth,
        grid: tuple[int, int] | None,
        resize_mode: ResizeMode,
        pooling: Pooling,
        least: int,
        seed: int,
    ) -> None:
        self._grid, self._resize_mode, self._pooling, self._least = grid, resize_mode, pooling, least
        self._seed = seed
        self._images, self._captions = truth
        self._image_codes: dict[int, np.ndarray] = {}
        self._caption_codes: dict[int, np.ndarray] = {}
        self._patch_codes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._patch_latents = 0

    def update(self, encoded: EncodedBatch) -> None:
        """Add the items of a batch that state their concepts."""
        pairs, self._patch_latents = encoded.batch.pair.tolist(), encoded.shared_width
        if not any(pair in self._images or pair in self._captions for pair in pairs):
            return
        vision, text = (encoded.pooled(side, self._pooling).cpu().numpy() for side in SIDES)
        shared = encoded.codes["vision"]["shared"]
        values, indices = (part.view(len(pairs), encoded.patches, -1).cpu().numpy() for part in shared)
        for place, pair in enumerate(pairs):
            if pair in self._images:
                self._image_codes[pair] = vision[place]
                if self._grid and has_masks(self._images[pair]["objects"]):
                    self._patch_codes[pair] = values[place], indices[place]
            if pair in self._captions:
                self._caption_codes[pair] = text[place]

    def result(self) -> dict[str, Any] | NotDefined:
        """Recovery, same latent, transfer and patch-level average precision, for the concepts that can be asked.

        Returns:
            `concepts`, the number asked; `too_rare`, the number not asked; and unless none is asked what
            `score_concepts` gives, with `patch_ap` where images have masks. Not defined without ground truth.
        """
        if not (self._image_codes and self._caption_codes):
            return NOT_TOLD
        shown = [self._images[pair]["image_concepts"] for pair in self._image_codes]
        said = [self._captions[pair] for pair in self._caption_codes]
        asked = asked_concepts(shown, said, self._least)
        if not asked.names:
            return asked.numbers | {"recovery": none_asked(self._least)}
        codes: dict[Side, np.ndarray] = {
            "vision": np.stack(list(self._image_codes.values())),
            "text": np.stack(list(self._caption_codes.values())),
        }
        scores = score_concepts(asked, codes, self._seed)
        patch_ap = (
            self._patch_ap(asked.names, scores.best["vision"], self._grid) if self._grid else _NO_PATCHES
        )
        return scores.figures | {"patch_ap": patch_ap}

    def _patch_ap(
        self, concepts: list[str], vision: BestLatents, grid: tuple[int, int]
    ) -> dict[str, Any] | NotDefined:
        """Mean over the concepts that objects carry, each with the latent that finds it best among whole images.

        It is one that patches fire; an image-level latent has no place in the image.
        """
        images = [self._images[pair] for pair in self._patch_codes]
        carried = set(chain(*(thing["concepts"] or () for image in images for thing in image["objects"])))
        rows = [row for row, concept in enumerate(concepts) if concept in carried]
        if not rows:
            return NotDefined("no object carries an asked concept in an image whose objects all have masks")
        names = [concepts[row] for row in rows]
        labels = np.concatenate([self._labels(image, names, grid) for image in images])
        values, indices = map(np.concatenate, zip(*self._patch_codes.values(), strict=True))
        found = labels.any(axis=0)
        if not found.any():
            return NotDefined("the masks of the objects that carry asked concepts cover no patch")
        best = vision.average_precision[: self._patch_latents, rows].argmax(axis=0)
        scores = patch_average_precision(values, indices, labels[:, found], best[found])
        mean, prevalence = float(scores.mean()), float(labels[:, found].mean())
        return {"mean": mean, "prevalence": prevalence, "concepts": int(found.sum())}

    def _labels(
        self, image: dict[str, Any], concepts: list[str], grid: tuple[int, int]
    ) -> Bool[np.ndarray, "patch concept"]:
        size = (image["width"], image["height"])
        return patch_labels(image["objects"], concepts, size, grid, self._resize_mode)
