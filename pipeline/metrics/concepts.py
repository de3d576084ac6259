"""Concept recovery on a data set whose samples state their true concepts, as "kind:value" (`noun:boat`)."""

from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool
from torch import Tensor

from pipeline.datasets.geometry import ResizeMode
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.patches import has_masks, patch_average_precision, patch_labels
from pipeline.metrics.pooling import Pooling
from pipeline.metrics.recovery import (
    BestLatents,
    askable,
    best_latents,
    concept_recovery,
    label_matrix,
)


class ConceptMeter:
    """The `concepts` part of metrics.json: collects codes batch by batch and scores them at the end.

    Items are images (each once, however many captions it has) and captions. Kept until the end: a dense pooled
    float32 vector of shared latents per item, and the sparse shared codes of the patches of images with masks.

    Args:
        samples: The cache's samples.
        grid: Rows and columns of the patch grid.
        resize_mode: How the backbone fits an image to its input.
        pooling: How token codes become an item's code.
        least: Items with a concept, and without it, that each side needs for the concept to be asked.
    """

    def __init__(
        self, samples: pa.Table, grid: tuple[int, int], resize_mode: ResizeMode, pooling: Pooling, least: int
    ) -> None:
        self._grid, self._resize_mode, self._pooling, self._least = grid, resize_mode, pooling, least
        self._images: dict[int, dict[str, Any]] = {}
        self._captions: dict[int, list[str]] = {}
        self._read(samples)
        self._image_codes: list[np.ndarray] = []
        self._caption_codes: list[np.ndarray] = []
        self._patch_values: list[np.ndarray] = []
        self._patch_indices: list[np.ndarray] = []
        self._seen: dict[str, list[int]] = {"images": [], "captions": [], "masked": []}

    @property
    def has_truth(self) -> bool:
        """Whether any sample states its concepts on both sides."""
        return bool(self._images and self._captions)

    def update(self, encoded: EncodedBatch) -> None:
        """Add the items of a batch that state their concepts."""
        pairs = encoded.batch.pair.tolist()
        images = [place for place, pair in enumerate(pairs) if pair in self._images]
        captions = [place for place, pair in enumerate(pairs) if pair in self._captions]
        masked = [place for place in images if has_masks(self._images[pairs[place]]["objects"])]
        self._image_codes.append(_rows(encoded.pooled("vision", self._pooling), images))
        self._caption_codes.append(_rows(encoded.pooled("text", self._pooling), captions))
        for part, kept in zip(
            encoded.codes["vision"]["shared"], (self._patch_values, self._patch_indices), strict=True
        ):
            kept.append(_rows(part.unflatten(0, (-1, encoded.patches)), masked).reshape(-1, part.shape[1]))
        for name, places in (("images", images), ("captions", captions), ("masked", masked)):
            self._seen[name] += [pairs[place] for place in places]

    def result(self, seed: int) -> dict[str, Any]:
        """Recovery, same latent, transfer and patch-level average precision, for the concepts that can be asked.

        Args:
            seed: Shuffles the labels for the chance level.

        Returns:
            `concepts`, the number asked; `too_rare`, the number not asked; and unless none is asked what
            `concept_recovery` gives, with `patch_ap` where images have masks.
        """
        shown = [self._images[pair]["image_concepts"] for pair in self._seen["images"]]
        said = [self._captions[pair] for pair in self._seen["captions"]]
        known = sorted(set(chain.from_iterable(shown)) | set(chain.from_iterable(said)))
        labels = label_matrix(shown, known), label_matrix(said, known)
        asked = askable(*labels, self._least)
        numbers = {"concepts": len(asked), "too_rare": len(known) - len(asked)}
        if not asked:
            return numbers
        concepts = [known[column] for column in asked]
        generator = np.random.default_rng(seed)
        vision = best_latents(np.concatenate(self._image_codes), labels[0][:, asked], generator)
        text = best_latents(np.concatenate(self._caption_codes), labels[1][:, asked], generator)
        return numbers | concept_recovery(concepts, vision, text) | self._patch_ap(concepts, vision)

    def _patch_ap(self, concepts: list[str], vision: BestLatents) -> dict[str, Any]:
        """Mean over the concepts that objects carry, each with the latent that finds it best among whole images."""
        images = [self._images[pair] for pair in self._seen["masked"]]
        carried = {
            concept for image in images for thing in image["objects"] for concept in thing["concepts"] or ()
        }
        rows = [row for row, concept in enumerate(concepts) if concept in carried]
        if not rows:
            return {}
        names = [concepts[row] for row in rows]
        labels = np.concatenate([self._labels(image, names) for image in images])
        values, indices = np.concatenate(self._patch_values), np.concatenate(self._patch_indices)
        scores = patch_average_precision(values, indices, labels, vision.latent[rows])
        found = labels.any(axis=0)
        if not found.any():
            return {}
        mean, prevalence = float(scores[found].mean()), float(labels[:, found].mean())
        return {"patch_ap": {"mean": mean, "prevalence": prevalence, "concepts": int(found.sum())}}

    def _labels(self, image: dict[str, Any], concepts: list[str]) -> Bool[np.ndarray, "patch concept"]:
        size = (image["width"], image["height"])
        return patch_labels(image["objects"], concepts, size, self._grid, self._resize_mode)

    def _read(self, samples: pa.Table) -> None:
        columns = ["pair", "image_row", "width", "height", "objects", "image_concepts", "caption_concepts"]
        images_read = set()
        for row in samples.select(columns).to_pylist():
            if row["pair"] is None:
                continue
            if row["image_concepts"] is not None and row["image_row"] not in images_read:
                self._images[row["pair"]] = row | {"objects": row["objects"] or []}
            images_read.add(row["image_row"])
            if row["caption_concepts"] is not None:
                self._captions[row["pair"]] = row["caption_concepts"]


def _rows(part: Tensor, rows: list[int]) -> np.ndarray:
    chosen: np.ndarray = part[rows].cpu().numpy()
    return chosen
