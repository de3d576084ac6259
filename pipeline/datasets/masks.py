"""COCO segmentations as pixel masks: polygons, run lengths, and run lengths in COCO's compressed text."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from cache import shown_value
from pipeline.errors import DatasetError

_LARGEST = 2**31
"""Largest coordinate in pixels."""


def segmentation_mask(segmentation: Any, image_size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Rasterise a parsed COCO segmentation.

    Args:
        segmentation: a list of polygons `[x0, y0, x1, y1, ...]` (united), or
            `{"size": [height, width], "counts": ...}` with run lengths as a list or as COCO's compressed string.
        image_size: width and height of the image in pixels.

    Raises:
        DatasetError: the segmentation is malformed or of another size than the image.
    """
    refuse_malformed(segmentation, image_size)
    width, height = image_size
    if isinstance(segmentation, list):
        mask = np.zeros((height, width), dtype=bool)
        for polygon in segmentation:
            mask |= polygon_mask(np.array(polygon, dtype=np.float64).reshape(-1, 2), image_size)
        return mask
    return run_length_mask(_run_lengths(segmentation["counts"]), image_size)


def refuse_malformed(segmentation: Any, image_size: tuple[int, int]) -> None:
    """Check a parsed COCO segmentation without making a mask of it.

    Polygons with one or two corners, which occur in COCO, are accepted: they cover nothing.

    Raises:
        DatasetError: it is neither a list of polygons nor RLE, or RLE of another size than the image.
    """
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) % 2 or not are_coordinates(polygon):
                raise DatasetError(
                    f"polygon {shown_value(polygon)}: must be a list of numbers x0, y0, x1, y1, ..."
                )
        return
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise DatasetError(
            f"segmentation {shown_value(segmentation)}: neither polygons nor RLE (size, counts)"
        )
    width, height = image_size
    size = segmentation["size"]
    if size != [height, width] or set(map(type, size)) != {int}:
        raise DatasetError(f"RLE of height, width {shown_value(size)} in an image of {[height, width]}")
    _refuse_other_length(_run_lengths(segmentation["counts"]), image_size)


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
    _refuse_other_length(lengths, image_size)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def _refuse_other_length(lengths: Int64[np.ndarray, "run"], image_size: tuple[int, int]) -> None:
    width, height = image_size
    total = sum(lengths.tolist())  # in Python, where no sum is too large
    if np.any(lengths < 0) or total != width * height:
        raise DatasetError(f"RLE runs add up to {total} pixels, the image has {width * height}")


def _run_lengths(counts: Any) -> Int64[np.ndarray, "run"]:
    """Run lengths from RLE counts, a list or COCO's compressed text."""
    if isinstance(counts, str):
        return decompress_runs(counts)
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise DatasetError(f"RLE counts {shown_value(counts)}: must be a list or a string, of whole numbers")
    return _int64(counts)


def _int64(lengths: list[int]) -> Int64[np.ndarray, "run"]:
    try:
        return np.array(lengths, dtype=np.int64)
    except OverflowError:
        raise DatasetError("an RLE run is longer than any image") from None


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
    return _int64(lengths)


def are_coordinates(values: list[Any]) -> bool:
    """Whether all are numbers in the range of pixels; COCO has tens of millions of them, so there is no loop here."""
    if not set(map(type, values)) <= {int, float}:
        return False
    # NaN may hide behind other numbers from min and max, but not from a sum.
    return not values or (
        min(values) >= -_LARGEST and max(values) <= _LARGEST and math.isfinite(math.fsum(values))
    )
