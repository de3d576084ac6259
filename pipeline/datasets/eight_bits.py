"""Pictures of any mode as 8-bit RGB; those of more bits are scaled by the range of their format, never clipped."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from pipeline.datasets.netpbm import netpbm_values

_SIXTEEN_BITS: Final = 65535
_SIGNED: Final = 2
_J2K_START: Final = b"\xff\x4f\xff\x51"
_J2K_DEPTH: Final = 42
"""Bytes from the start of a JPEG 2000 code stream to what states the bits of its first component, less one."""


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
    if (netpbm := netpbm_values(file)) is not None:
        return Image.fromarray(_scaled(*netpbm)).convert("RGB")
    sixteen_bits = _has_colours_of_sixteen_bits(file)
    file.load()
    if file.mode.startswith("I") or file.mode == "F":
        scaled = _scaled(np.asarray(file), _largest_value(file))
        return Image.fromarray(np.invert(scaled) if _is_white_zero(file) else scaled).convert("RGB")
    if sixteen_bits:
        _refuse_within_one_step(file)
    file.info.pop("transparency", None)  # Pillow warns of it where it is dropped
    return (file.convert("LA") if file.mode == "La" else file).convert("RGB")


def _scaled(values: NDArray[Any], largest: int) -> NDArray[np.uint8]:
    """Scale values of 0 to `largest` to 0 to 255; those of more than 8 bits have to use more than one of its steps."""
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= largest):
        raise ValueError(f"its values range from {values.min()} to {values.max()}, not from 0 to {largest}")
    if lowest != highest and (highest - lowest) * 255 <= largest:
        raise ValueError(
            f"its values range from {values.min()} to {values.max()} of {largest}: within one step of 8 bits"
        )
    if values.dtype == np.uint16:  # of which a table takes less memory than multiplying
        table: NDArray[np.uint8] = np.rint(np.arange(largest + 1) * (255 / largest)).astype(np.uint8)
        return np.take(table, values)
    scaled: NDArray[np.uint8] = np.rint(np.multiply(values, 255 / largest, dtype=np.float32)).astype(np.uint8)
    return scaled


def _has_colours_of_sixteen_bits(file: ImageFile.ImageFile) -> bool:
    """Say whether Pillow, decoding an opened picture, keeps the high bytes of its colours alone."""
    if file.format == "JPEG2000" and file.fp is not None:
        position = file.fp.tell()
        file.fp.seek(0)
        data = file.fp.read()
        file.fp.seek(position)
        start = data.find(_J2K_START)
        return start >= 0 and data[start + _J2K_DEPTH] & 0x7F == 15
    if isinstance(file, TiffImagePlugin.TiffImageFile) and file.mode == "P":
        return True  # as all colours of its palettes are
    for tile in file.tile:
        rawmode = tile.args[0] if isinstance(tile.args, tuple) else tile.args
        return isinstance(rawmode, str) and ";16" in rawmode
    return False


def _refuse_within_one_step(file: ImageFile.ImageFile) -> None:
    """Refuse high bytes that tell nothing: what is stored in 16 bits has 8 at most, and would be black."""
    colours = file.convert("RGB") if file.mode == "P" else file
    of_bands = zip(colours.getbands(), colours.split(), strict=True)
    if all(np.max(band.getextrema()) <= 1 for name, band in of_bands if name not in {"A", "a", "X"}):
        raise ValueError("its colours of 16 bits are all within the darkest step of 8 bits")


def _is_white_zero(file: ImageFile.ImageFile) -> bool:
    """Say whether 0 stands for white, which Pillow heeds in grey TIFF of 8 bits at most."""
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
