"""Reading one image file the way its annotations saw it."""

from pathlib import Path

from PIL import ExifTags, Image, ImageOps

from pipeline.errors import DatasetError

# Raised by Pillow's decoders on damaged files, beside OSError: broken PNG chunks, headers that lie, absurd sizes.
_DECODING_ERRORS = (SyntaxError, ValueError, EOFError, Image.DecompressionBombError)

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do to the stored pixels to see them upright, by EXIF orientation."""


class UnusableImageError(DatasetError):
    """An image that is left out of the pairs; the message is the recorded reason, "kind" or "kind: detail"."""


def read_picture(path: Path, annotated_size: tuple[int, int]) -> Image.Image:
    """Decode an image file to RGB.

    Grey-scale, palette and CMYK files are converted, before any resizing (a palette image cannot be interpolated).
    The annotated size settles what boxes refer to: the EXIF orientation is applied if the picture then has that size
    or its proportions, otherwise the pixels are taken as stored. A picture that merely was scaled (both sides by
    one factor, up to a pixel of rounding) is kept: boxes are used relative to the annotated size.

    Args:
        path: the file.
        annotated_size: width and height in pixels according to the data set.

    Raises:
        UnusableImageError: the file is damaged, or its proportions are not the annotated ones.
        DatasetError: the file cannot be read at all (missing, forbidden, the device fails).
    """
    try:
        with Image.open(path) as file:
            stored = file.convert("RGB")
            turn = _TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODING_ERRORS as error:
        raise UnusableImageError(f"image cannot be decoded: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
        raise UnusableImageError(f"image cannot be decoded: {_without_path(error, path)}") from None
    upright = stored if turn is None else stored.transpose(turn)
    for picture in (upright, stored):
        if _same_proportions(picture.size, annotated_size):
            return picture
    size, annotated = (f"{width} x {height}" for width, height in (stored.size, annotated_size))
    raise UnusableImageError(f"image size differs from its annotation: {size} px, annotated {annotated}")


def read_upright(path: Path) -> Image.Image:
    """Decode an image file that has no annotations to RGB, upright by its EXIF orientation.

    Raises:
        DatasetError: the file cannot be read, or is not a picture.
    """
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file.convert("RGB"))
    except (*_DECODING_ERRORS, OSError) as error:
        reason = getattr(error, "strerror", None) or f"not a picture that can be decoded ({error})"
        raise DatasetError(f"{path}: {reason}") from None


def _same_proportions(size: tuple[int, int], annotated: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, up to a pixel of rounding in the smaller one."""
    (width, height), (other_width, other_height) = sorted((size, annotated))
    if width > other_width or height > other_height:
        return False
    scale = max(other_width / width, other_height / height)
    return abs(other_width - width * scale) <= scale and abs(other_height - height * scale) <= scale


def _without_path(error: OSError, path: Path) -> str:
    """Pillow's message without the absolute path, so that caches do not differ between machines."""
    return str(error).replace(repr(str(path)), "").strip() or "unknown format"
