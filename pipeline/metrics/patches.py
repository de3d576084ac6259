"""Patch-level truth: do the patches that fire a concept's latent lie on the object that carries the concept?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from pipeline.datasets.geometry import ResizeMode, mask_coverage
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.localisation import inside_boxes


def has_masks(objects: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every object that carries concepts has a mask, so that no patch is called empty by omission."""
    return all(thing["segmentation"] for thing in objects if thing["concepts"])


def patch_labels(
    objects: Sequence[Mapping[str, Any]],
    concepts: Sequence[str],
    image_size: tuple[int, int],
    grid: tuple[int, int],
    resize_mode: ResizeMode,
) -> Bool[np.ndarray, "patch concept"]:
    """Which patches of an image lie on an object that carries each concept.

    A patch belongs to the concept when the masks of its objects cover at least half of it; objects that cover
    half of no patch keep the patch they cover most, as for boxes.

    Args:
        objects: The sample's objects, with `segmentation` (COCO JSON) and `concepts`.
        concepts: The concepts to label; one that no object carries labels no patch.
        image_size: Width and height of the annotated image in pixels.
        grid: Rows and columns of the patch grid.
        resize_mode: How the backbone fits the image to its input.
    """
    coverage = np.zeros((len(concepts), grid[0] * grid[1]))
    for thing in objects:
        carried = [row for row, concept in enumerate(concepts) if concept in (thing["concepts"] or ())]
        if carried:
            coverage[carried] += mask_coverage(thing["segmentation"], image_size, grid, resize_mode).numpy()
    return np.asarray((inside_boxes(coverage.clip(max=1.0)) & (coverage > 0)).T)


def latent_column(
    values: Float[np.ndarray, "patch k"], indices: Int[np.ndarray, "patch k"], latent: int
) -> Float[np.ndarray, "patch"]:
    """One latent's activation on every patch, from sparse codes."""
    return np.asarray((values * (indices == latent)).sum(axis=1))


def patch_average_precision(
    values: Float[np.ndarray, "patch k"],
    indices: Int[np.ndarray, "patch k"],
    labels: Bool[np.ndarray, "patch concept"],
    latents: Int[np.ndarray, "concept"],
) -> Float[np.ndarray, "concept"]:
    """Average precision of each concept's own latent over all patches of all images; NaN without a positive patch."""
    scores = [
        average_precision(latent_column(values, indices, int(latent))[:, None], labels[:, [concept]]).item()
        for concept, latent in enumerate(latents)
    ]
    return np.array(scores, dtype=np.float64)
