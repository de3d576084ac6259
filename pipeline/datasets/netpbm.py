"""Netpbm pictures that Pillow decodes value by value in Python: minutes for a large one, and clipping its values.

Pillow has quick decoders for the largest values of one byte and of two, and none for pictures written as text.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

_TEXT_LIMIT = 2**24
"""Most bytes of a file whose values are text: some seconds of decoding."""


def netpbm_values(file: ImageFile.ImageFile) -> tuple[NDArray[np.uint16], int] | None:
    """Read the values of a binary PGM (`[row, column]`) or PPM (`[row, column, band]`), and the largest allowed one.

    Returns:
        None for a picture of another format, and for one that Pillow decodes quickly and right.

    Raises:
        ValueError: it has values above its largest one, not enough of them, or too many of them as text.
    """
    if file.format != "PPM" or file.fp is None:
        return None
    codec, _, offset, arguments = file.tile[0]
    if codec == "ppm_plain" and (size := file.fp.seek(0, 2)) > _TEXT_LIMIT:
        raise ValueError(f"it is written as text of {size} bytes, the limit is {_TEXT_LIMIT}")
    file.fp.seek(offset)
    if codec != "ppm":
        return None
    largest = cast(tuple[str, int], arguments)[1]
    shape = (file.height, file.width, 3) if file.mode == "RGB" else (file.height, file.width)
    dtype = np.dtype(np.uint8 if largest < 256 else ">u2")
    data = file.fp.read(int(np.prod(shape)) * dtype.itemsize)
    values = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype=dtype)
    if values.size and values.max() > largest:
        raise ValueError(f"it has the value {values.max()}, above the largest of its header, {largest}")
    if values.size < np.prod(shape):
        raise ValueError(f"it is truncated: it has {values.size} values of {np.prod(shape)}")
    return values.reshape(shape).astype(np.uint16, copy=False), largest
