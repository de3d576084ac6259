"""COCO segmentations as pixel masks: polygons, run lengths, and run lengths in COCO's compressed text."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from pipeline.errors import DatasetError


def segmentation_mask(segmentation: Any, image_size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Rasterise a parsed COCO segmentation.

    Args:
        segmentation: a list of polygons `[x0, y0, x1, y1, ...]` (united), or
            `{"size": [height, width], "counts": ...}` with run lengths as a list or as COCO's compressed string.
        image_size: width and height of the image in pixels.

    Raises:
        DatasetError: the segmentation is malformed or of another size than the image.
    """
    refuse_malformed(segmentation)
    width, height = image_size
    if isinstance(segmentation, list):
        mask = np.zeros((height, width), dtype=bool)
        for polygon in segmentation:
            mask |= polygon_mask(np.array(polygon, dtype=np.float64).reshape(-1, 2), image_size)
        return mask
    if list(segmentation["size"]) != [height, width]:
        raise DatasetError(f"RLE of height, width {segmentation['size']} in an image of {[height, width]}")
    counts = segmentation["counts"]
    lengths = decompress_runs(counts) if isinstance(counts, str) else np.asarray(counts, dtype=np.int64)
    return run_length_mask(lengths, image_size)


def refuse_malformed(segmentation: Any) -> None:
    """Check the shape of a parsed COCO segmentation, without decoding it.

    Polygons with one or two corners, which occur in COCO, are accepted: they cover nothing.

    Raises:
        DatasetError: it is neither a list of polygons nor RLE.
    """
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) % 2 or not _are_numbers(polygon):
                raise DatasetError(f"polygon {polygon!s:.60}: must be a list of numbers x0, y0, x1, y1, ...")
    elif not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise DatasetError(f"segmentation {segmentation!s:.60}: neither polygons nor RLE (size, counts)")
    elif not isinstance(segmentation["counts"], str | list):
        raise DatasetError(f"RLE counts {segmentation['counts']!s:.60}: must be a list or a string")


def polygon_mask(
    corners: Float[np.ndarray, "corner 2"], image_size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres lie inside a polygon, by the even-odd rule.

    Every edge toggles, in each row of pixel centres that it crosses, all pixels to the right of the crossing.
    Unlike drawing libraries, which also paint each pixel that the outline touches, this does not enlarge small
    objects.

    Args:
        corners: x and y in pixels; the last is joined to the first.
        image_size: width and height of the mask.
    """
    width, height = image_size
    x, y = corners.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(height)[:, None] + 0.5
    row, edge = np.nonzero((y <= centres) != (next_y <= centres))
    slope = (next_x - x)[edge] / (next_y - y)[edge]
    crossing = x[edge] + (centres[row, 0] - y[edge]) * slope
    toggles = np.zeros((height, width + 1), dtype=np.uint8)  # wrapping at 256 keeps what counts: odd or even
    np.add.at(toggles, (row, np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)), 1)
    return (np.cumsum(toggles[:, :width], axis=1, dtype=np.uint8) & 1).astype(bool)


def run_length_mask(
    lengths: Int64[np.ndarray, "run"], image_size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """Mask from the lengths of alternating runs, background first, down the columns (COCO's order).

    Raises:
        DatasetError: the runs do not add up to the image.
    """
    width, height = image_size
    if lengths.ndim != 1 or np.any(lengths < 0) or lengths.sum() != width * height:
        raise DatasetError(f"RLE runs add up to {lengths.sum()} pixels, the image has {width * height}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def decompress_runs(text: str) -> Int64[np.ndarray, "run"]:
    """Run lengths from COCO's compressed text.

    Each character holds 5 bits, low bits first, and a flag (32) that more follow; from the fourth on, a number
    is the difference to the run two before it (`rleFrString` of the COCO API).

    Raises:
        DatasetError: the text stops inside a number or has a character outside COCO's 64.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise DatasetError(f"compressed RLE has the character {character!r}")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise DatasetError("compressed RLE stops inside a number")
    return np.array(lengths, dtype=np.int64)


def _are_numbers(values: list[Any]) -> bool:
    """Whether all are finite numbers; COCO has tens of millions of coordinates, so there is no loop here."""
    return set(map(type, values)) <= {int, float} and all(map(math.isfinite, values))
