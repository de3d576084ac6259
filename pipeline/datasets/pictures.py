"""Reading image files: the one place where the repository decodes a picture that it did not draw itself."""

import io
import warnings
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from cache import shown_text
from pipeline.datasets.eight_bits import eight_bit_rgb
from pipeline.datasets.regular_file import IrregularFileError, read_regular_file
from pipeline.errors import DatasetError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded, in Pillow's words. Pillow decodes these by itself; for others it starts programs (PostScript)."""

PIXEL_LIMIT = 2**26
"""Most pixels of a picture, 8192 x 8192; decoding one takes up to about 1 GiB, 4 bytes a pixel three times."""

FILE_LIMIT = 2**28
"""Most bytes of an image file, 256 MiB."""

_SCAN_LIMIT = 100
"""Most scans of a JPEG: each goes over all pixels. Encoders write a dozen."""

_READ_LIMIT = 2**18
"""Most times that a decoder asks for bytes: a file of nothing but tiny chunks would keep it for minutes."""

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

_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# The limit above is lower than the one that Pillow warns of, and pictures beyond it are recorded.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What Pillow finds odd and yet decodes (a broken EXIF, say) says nothing that anybody can mend.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnusableImageError(DatasetError):
    """An image that cannot be used, through no fault of the disk; the message names it.

    Attributes:
        reason: why, as it is recorded where the image is left out: "kind" or "kind: detail", without its path, so that
            it is the same on every machine.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def read_picture(path: Path, annotated_size: tuple[int, int]) -> Image.Image:
    """Decode an image file to RGB, the way its annotations saw it.

    Other modes are converted before any resizing (a palette image cannot be interpolated), as `eight_bit_rgb` says.
    The annotated size settles what boxes refer to: the EXIF orientation is applied if the picture then has that size
    or its proportions, otherwise the pixels are taken as stored. A picture that merely was scaled (both sides by
    one factor, up to a pixel of rounding) is kept: boxes are used relative to the annotated size.

    Args:
        path: the file.
        annotated_size: width and height in pixels according to the data set.

    Raises:
        UnusableImageError: not a regular file, too large, damaged, of values whose range is not known, or its
            proportions are not the annotated ones.
        DatasetError: the file cannot be read at all (missing, forbidden, the device fails).
    """
    stored, upright = _decode(path)
    for picture in (upright, stored):
        if _same_proportions(picture.size, annotated_size):
            return picture
    size, annotated = (f"{width} x {height}" for width, height in (stored.size, annotated_size))
    raise UnusableImageError(
        path, f"image size differs from its annotation: {size} px, annotated {annotated}"
    )


def read_upright(path: Path) -> Image.Image:
    """Decode an image file that has no annotations to RGB, upright by its EXIF orientation.

    Raises:
        UnusableImageError, DatasetError: as `read_picture`.
    """
    return _decode(path)[1]


def _decode(path: Path) -> tuple[Image.Image, Image.Image]:
    """Decode the picture as its pixels are stored, and upright by its EXIF orientation.

    The bytes are read first, so that what fails then is the disk's doing, and what fails later the picture's.
    """
    try:
        data = read_regular_file(path, FILE_LIMIT)
    except IrregularFileError as error:
        raise UnusableImageError(path, f"image file cannot be used: {error.reason}") from None
    try:
        with Image.open(_BoundedReads(data), formats=FORMATS) as file:
            _refuse_too_large(file)
            if isinstance(file, JpegImagePlugin.JpegImageFile):
                _refuse_endless_scans(data)
            stored = eight_bit_rgb(file)
            turn = _TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
        return stored, stored if turn is None else stored.transpose(turn)
    except Exception as error:  # decoders raise whatever they like, also RuntimeError and NotImplementedError
        kind = "image too large" if isinstance(error, _TOO_LARGE) else "image cannot be decoded"
        raise UnusableImageError(path, f"{kind}: {_reason(error)}") from None


class _BoundedReads(io.BytesIO):
    """The bytes of a file, which are asked for only so many times.

    Raises:
        ValueError: once it is read more often.
    """

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As `io.BytesIO`."""
        self._reads += 1
        if self._reads > _READ_LIMIT:
            raise ValueError(f"it is in too many pieces: reading it takes more than {_READ_LIMIT} steps")
        return super().read(size)


def _refuse_endless_scans(data: bytes) -> None:
    scans = data.count(
        b"\xff\xda"
    )  # the marker of a scan; in what is compressed, no such two bytes follow each other
    if scans > _SCAN_LIMIT:
        raise ValueError(f"it has {scans} scans, the limit is {_SCAN_LIMIT}")


def _refuse_too_large(file: ImageFile.ImageFile) -> None:
    """Refuse a picture before memory is taken for its pixels; a TIFF can also have tiles larger than itself."""
    sizes = [file.size]
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        tags = (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
        sizes.append((file.tag_v2.get(tags[0], 0), file.tag_v2.get(tags[1], 0)))
    for width, height in sizes:
        if width * height > PIXEL_LIMIT:
            raise Image.DecompressionBombError(f"{width} x {height} px, the limit is {PIXEL_LIMIT} px")


def _reason(error: Exception) -> str:
    """Say what a decoder complains of, in one printable line that is the same on every machine."""
    if isinstance(error, UnidentifiedImageError):  # its message has an address in memory
        return f"not a picture, or of a kind that is not read ({', '.join(FORMATS)} are)"
    if isinstance(error, MemoryError):
        return "no memory is left for it"
    return shown_text(error) or type(error).__name__


def _same_proportions(size: tuple[int, int], annotated: tuple[int, int]) -> bool:
    """Say whether one size is the other scaled, up to a pixel of rounding in the smaller one."""
    (width, height), (other_width, other_height) = sorted((size, annotated))
    if width > other_width or height > other_height:
        return False
    scale = max(other_width / width, other_height / height)
    return abs(other_width - width * scale) <= scale and abs(other_height - height * scale) <= scale
