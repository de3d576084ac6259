"""Pictures of any mode as 8-bit RGB; those of more bits are scaled by the range of their format, never clipped."""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

_SIXTEEN_BITS: Final = 65535
_SIGNED: Final = 2


def eight_bit_rgb(file: ImageFile.ImageFile) -> Image.Image:
    """Decode an opened picture to RGB.

    Grey-scale, palette, CMYK and other modes are converted by Pillow and transparency is dropped. Grey values of 12 or
    16 bits and floats between 0 and 1, which Pillow would clip at 255, are scaled. (Colours of 16 bits are scaled by
    Pillow as it decodes.)

    Raises:
        ValueError: the range of its values is not known, or they leave it.
        Exception: whatever Pillow's decoders raise for a damaged picture.
    """
    if isinstance(file, TiffImagePlugin.TiffImageFile) and _SIGNED in _numbers(
        file, TiffImagePlugin.SAMPLEFORMAT
    ):
        raise ValueError("its values are signed, so that it is not known which of them is black")
    _refuse_above_maximum(file)
    file.load()
    if file.mode.startswith("I") or file.mode == "F":
        return Image.fromarray(_scaled(file)).convert("RGB")
    file.info.pop("transparency", None)  # Pillow warns of it where it is dropped
    return (file.convert("LA") if file.mode == "La" else file).convert("RGB")


def _scaled(file: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Values of a grey picture of more than 8 bits as 0 (black) to 255 (white)."""
    values = np.asarray(file)
    largest = _largest_value(file)
    if not (values.min() >= 0 and values.max() <= largest):
        raise ValueError(f"its values range from {values.min()} to {values.max()}, not from 0 to {largest}")
    scaled: NDArray[np.uint8] = np.rint(np.multiply(values, 255 / largest, dtype=np.float32)).astype(np.uint8)
    if scaled.min() == scaled.max() and values.min() != values.max():
        raise ValueError(
            f"its values range from {values.min()} to {values.max()} of {largest}: all are one value of 8 bits"
        )
    return np.invert(scaled) if _is_white_zero(file) else scaled


def _is_white_zero(file: ImageFile.ImageFile) -> bool:
    """Whether 0 stands for white, which Pillow heeds in grey TIFF of 8 bits at most."""
    if not isinstance(file, TiffImagePlugin.TiffImageFile):
        return False
    return 0 in _numbers(file, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0)


def _largest_value(file: ImageFile.ImageFile) -> int:
    if file.mode == "F":
        return 1
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        bits = _numbers(file, TiffImagePlugin.BITSPERSAMPLE)[0]
        if bits > 16:
            raise ValueError(f"its values have {bits} bits, and how many of them are used is not known")
        return int(2**bits - 1)
    return _SIXTEEN_BITS  # PNG; JPEG 2000 and PGM, whose values Pillow scales to 16 bits


def _numbers(file: TiffImagePlugin.TiffImageFile, tag: int, default: int = 1) -> tuple[Any, ...]:
    value = file.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _refuse_above_maximum(file: ImageFile.ImageFile) -> None:
    """Refuse a binary PGM or PPM with values above the largest that its header states, which Pillow would clip."""
    if file.format != "PPM" or file.tile[0].codec_name != "ppm" or file.fp is None:
        return
    maximum = cast(tuple[str, int], file.tile[0].args)[1]
    file.fp.seek(file.tile[0].offset)
    samples = file.width * file.height * len(file.getbands())
    dtype = np.dtype(np.uint8 if maximum < 256 else ">u2")
    values = np.frombuffer(file.fp.read(samples * dtype.itemsize), dtype=np.uint8)
    values = values[: values.size // dtype.itemsize * dtype.itemsize].view(dtype)
    if values.size and values.max() > maximum:
        raise ValueError(f"it has the value {values.max()}, above the largest of its header, {maximum}")
