"""From boxes and masks in an image to the share of each patch they cover.

A backbone sees a rectangle of the image (all of it, or the part its crop keeps), stretched over its patch
grid. Areas are intersected with that rectangle in the image's own pixels, so the results hold for any input
resolution; the backbone's rounding to whole pixels while resizing (under one input pixel) is left out.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cache import ActivationCache
from pipeline.datasets.masks import segmentation_mask

ResizeMode = Literal["squash", "shortest", "longest"]


def resize_mode_of(cache: ActivationCache) -> ResizeMode:
    """Tell how the cache's backbone fits an image to its input."""
    identity: Any = cache.manifest.backbone
    mode: ResizeMode = identity["preprocessing"]["resize_mode"]
    return mode


def patch_coverage(
    box: tuple[float, float, float, float],
    image_size: tuple[int, int],
    grid: tuple[int, int],
    resize_mode: ResizeMode,
) -> Float[Tensor, "patch"]:
    """Compute the share of each patch that lies inside a box.

    Args:
        box: left, top, width, height in pixels of the image; parts outside the image count for nothing.
        image_size: width and height of the image in pixels.
        grid: rows and columns of the backbone's patch grid.
        resize_mode: how the backbone fits an image to its input, in open_clip's words: "squash" stretches it,
            "shortest" crops the centre, "longest" pads.

    Returns:
        float32 in [0, 1], patches row by row. All zero when the crop cuts the box away.
    """
    left, top, width, height = box
    column_edges, row_edges = _patch_edges(image_size, grid, resize_mode)
    right, bottom = min(left + width, image_size[0]), min(top + height, image_size[1])
    across = _overlap(column_edges, np.array([max(left, 0.0), right], dtype=np.float64))
    down = _overlap(row_edges, np.array([max(top, 0.0), bottom], dtype=np.float64))
    return torch.from_numpy((down * across.T).ravel().astype(np.float32))


def mask_coverage(
    segmentation: str, image_size: tuple[int, int], grid: tuple[int, int], resize_mode: ResizeMode
) -> Float[Tensor, "patch"]:
    """Compute the share of each patch that an object's mask covers.

    Args:
        segmentation: JSON text of a COCO segmentation: polygons, RLE counts, or a compressed RLE string.
        image_size, grid, resize_mode: as for `patch_coverage`.

    Returns:
        float32 in [0, 1], patches row by row.

    Raises:
        DatasetError: the segmentation is malformed or of another size than the image.
    """
    return coverage_of_mask(segmentation_mask(segmentation, image_size), grid, resize_mode)


def coverage_of_mask(
    mask: Bool[np.ndarray, "height width"], grid: tuple[int, int], resize_mode: ResizeMode
) -> Float[Tensor, "patch"]:
    """Compute the share of each patch that a mask of the whole image covers: area averages, float32 in [0, 1]."""
    height, width = mask.shape
    column_edges, row_edges = _patch_edges((width, height), grid, resize_mode)
    down = _overlap(row_edges, np.arange(height + 1.0))
    across = _overlap(column_edges, np.arange(width + 1.0))
    return torch.from_numpy((down @ mask @ across.T).ravel().astype(np.float32))


def _patch_edges(
    image_size: tuple[int, int], grid: tuple[int, int], resize_mode: ResizeMode
) -> tuple[Float[np.ndarray, " column_edge"], Float[np.ndarray, " row_edge"]]:
    """Find where the patch borders run in the image, in its pixels; outside of it where the backbone pads."""
    width, height = image_size
    rows, columns = grid
    patch_width, patch_height = width / columns, height / rows
    if resize_mode == "shortest":
        patch_width = patch_height = min(patch_width, patch_height)
    elif resize_mode == "longest":
        patch_width = patch_height = max(patch_width, patch_height)
    return (
        width / 2 + patch_width * (np.arange(columns + 1) - columns / 2),
        height / 2 + patch_height * (np.arange(rows + 1) - rows / 2),
    )


def _overlap(
    edges: Float[np.ndarray, " cell_edge"], spans: Float[np.ndarray, " span_edge"]
) -> Float[np.ndarray, "cell span"]:
    """Compute the share of each cell (between two `edges`) that each span (between two `spans`) fills."""
    start = np.maximum(edges[:-1, None], spans[None, :-1])
    stop = np.minimum(edges[1:, None], spans[None, 1:])
    share: Float[np.ndarray, "cell span"] = np.maximum(stop - start, 0.0) / np.diff(edges)[:, None]
    return share
