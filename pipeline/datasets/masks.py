"""COCO segmentations as pixel masks: polygons, run lengths, and run lengths in COCO's compressed text."""

from typing import Annotated

import numpy as np
from jaxtyping import Bool, Int64
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder
from pycocotools import mask as coco_mask

from cache import shown_value
from pipeline.datasets.strict_json import decode_json
from pipeline.errors import DatasetError

_LARGEST = 2**16
"""Largest coordinate in pixels, as of a JPEG."""

_ALWAYS_DRAWN, _LONGEST = 2**9, 2**26
"""Numbers of a polygon up to which it is drawn, and otherwise that number times the pixels that they span: pycocotools
takes 20 bytes for every pixel along an outline, and counts fifths of pixels in 32 bits.
"""

Coordinate = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
Extent = Annotated[float, Meta(ge=0, le=_LARGEST)]


class _RunLengths(Struct):
    """Lengths of alternating runs of pixels, background first, down the columns of a mask of `size` (height, width)."""

    size: tuple[int, int]
    counts: str | list[int]


_SEGMENTATION = Decoder(list[list[Coordinate]] | _RunLengths | None)


def segmentation_mask(text: str, image_size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Rasterise a COCO segmentation by the rule of COCO's own API; several polygons are united.

    Raises:
        DatasetError: as `read_segmentation`.
    """
    width, height = image_size
    segmentation = read_segmentation(text.encode(), image_size)
    runs = segmentation if isinstance(segmentation, np.ndarray) else _rasterised(segmentation, height, width)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def read_segmentation(
    text: bytes | Raw, image_size: tuple[int, int]
) -> list[list[float]] | Int64[np.ndarray, "run"]:
    """Decode a COCO segmentation and check it, without making a mask of it.

    Polygons with one or two corners, which occur in COCO, are accepted: they cover nothing.

    Args:
        text: JSON: a list of polygons `[x0, y0, x1, y1, ...]`, `{"size": [height, width], "counts": ...}` with run
            lengths as a list or as COCO's compressed string, or null.
        image_size: width and height of the image in pixels.

    Returns:
        Polygons, none of them for null; or the lengths of alternating runs, background first.

    Raises:
        DatasetError: it is none of these, or of another size than the image.
    """
    try:
        segmentation = decode_json(text, _SEGMENTATION)
    except ValueError as error:
        raise DatasetError(str(error)) from None
    if isinstance(segmentation, _RunLengths):
        return _checked_runs(segmentation, image_size)
    for polygon in segmentation or ():
        if len(polygon) % 2:
            raise DatasetError(f"polygon {shown_value(polygon)}: must be x0, y0, x1, y1, ...")
        if len(polygon) > _ALWAYS_DRAWN and (max(polygon) - min(polygon)) * len(polygon) > _LONGEST:
            raise DatasetError(f"polygon {shown_value(polygon)}: its outline is too long to be drawn")
    return segmentation or []


def _rasterised(polygons: list[list[float]], height: int, width: int) -> Int64[np.ndarray, "run"]:
    with_area = [polygon for polygon in polygons if len(polygon) > 4]
    if not with_area:
        return np.array([height * width])
    united = coco_mask.merge(coco_mask.frPyObjects(with_area, height, width))
    return np.array(decompress_runs(united["counts"].decode()))


def _checked_runs(runs: _RunLengths, image_size: tuple[int, int]) -> Int64[np.ndarray, "run"]:
    width, height = image_size
    if runs.size != (height, width):
        raise DatasetError(f"RLE of height, width {list(runs.size)} in an image of {[height, width]}")
    lengths = decompress_runs(runs.counts) if isinstance(runs.counts, str) else runs.counts
    total = sum(lengths)
    if min(lengths, default=0) < 0 or total != width * height:
        raise DatasetError(f"RLE runs add up to {shown_value(total)} pixels, the image has {width * height}")
    return np.array(lengths, dtype=np.int64)


def decompress_runs(text: str) -> list[int]:
    """Read run lengths from COCO's compressed text.

    Each character holds 5 bits, low bits first, and a flag (32) that more follow; from the fourth on, a number
    is the difference to the run two before it (`rleFrString` of the COCO API, which checks nothing).

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
    return lengths
