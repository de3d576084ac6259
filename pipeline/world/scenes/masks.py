"""Masks as COCO stores them: uncompressed run lengths, column after column, starting with the background."""

from typing import TypedDict

import numpy as np
from jaxtyping import Bool


class RunLengths(TypedDict):
    """COCO's uncompressed RLE: `size` is [height, width], `counts` alternate background and object runs."""

    size: list[int]
    counts: list[int]


def encode_mask(mask: Bool[np.ndarray, "height width"]) -> RunLengths:
    """Encode the mask as run lengths; the first is 0 when the upper left pixel belongs to the object."""
    pixels = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": [mask.shape[0], mask.shape[1]], "counts": [int(count) for count in counts]}
