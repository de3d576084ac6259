"""Pictures on the pages: one small file per image, whichever pages show it."""

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from pipeline.datasets.geometry import ResizeMode
from pipeline.datasets.pictures import UnusableImageError
from pipeline.datasets.sample_pictures import read_sample_picture

_LONGEST_NAME = 100
"""Characters of a file's name that are kept; its number follows and tells it from others."""

_LONGEST_NAME = 100
"""Characters of a file's name that are kept; its number follows and tells it from others."""


@dataclass(frozen=True)
class Picture:
    """One image file of the report: its path relative to the report's root, and its size in pixels."""

    source: str
    width: int
    height: int


class PictureShelf:
    """Writes each image once, cut to what the backbone saw of it, and hands out where it is.

    Args:
        folder: The report's root; pictures go into its `images/SPLIT/`.
        dataset_root: The folder that the samples' files are relative to.
        pixels: Longest side.
        quality: WebP quality, 1 to 100.

    Attributes:
        unusable: Why an image cannot be shown, by split and file; a crossed field stands in its place.
    """

    def __init__(self, folder: Path, dataset_root: Path, pixels: int, quality: int) -> None:
        self._folder = folder
        self._dataset_root = dataset_root
        self._pixels = pixels
        self._quality = quality
        self._pictures: dict[tuple[str, str], Picture] = {}
        self.unusable: dict[tuple[str, str], str] = {}

    def place(
        self, split: str, file: str, size: tuple[int, int], grid: tuple[int, int], resize_mode: ResizeMode
    ) -> Picture:
        """Write the image `file` unless it is there.

        Args:
            split: The split it belongs to.
            file: Its path relative to the dataset's root.
            size: Annotated width and height in pixels.
            grid: Rows and columns of the patch grid; they fill the written picture exactly.
            resize_mode: How the backbone fits an image to its input.

        Raises:
            DatasetError: the image is not there any more, or the disk fails.
        """
        key = (split, file)
        if key not in self._pictures:
            try:
                stored = read_sample_picture(self._dataset_root, file, size)
            except UnusableImageError as error:
                self.unusable[key] = error.reason
                stored = _crossed_field(self._pixels)
            picture = as_seen(stored, grid, resize_mode, self._pixels)
            source = (
                f"images/{_file_name(split)}/{_file_name(Path(file).stem)}-{len(self._pictures):05d}.webp"
            )
            target = self._folder / source
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target, "WEBP", quality=self._quality, method=4)
            self._pictures[key] = Picture(source, *picture.size)
        return self._pictures[key]


def _crossed_field(pixels: int) -> Image.Image:
    field = Image.new("RGB", (pixels, pixels), "#808080")
    draw = ImageDraw.Draw(field)
    draw.line([(0, 0), (pixels, pixels)], "#404040", width=2)
    draw.line([(0, pixels), (pixels, 0)], "#404040", width=2)
    return field


def as_seen(picture: Image.Image, grid: tuple[int, int], resize_mode: ResizeMode, pixels: int) -> Image.Image:
    """The part of a picture that the backbone sees, in natural proportions, at most `pixels` on its longest side.

    The patch grid fills the result exactly, so patch positions are plain shares of its width and height.
    """
    if resize_mode == "squash":
        return ImageOps.contain(picture, (pixels, pixels), Image.Resampling.LANCZOS)
    rows, columns = grid
    size = (max(1, pixels * columns // max(grid)), max(1, pixels * rows // max(grid)))
    if resize_mode == "shortest":
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return ImageOps.pad(picture, size, Image.Resampling.LANCZOS)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:_LONGEST_NAME] or "image"
