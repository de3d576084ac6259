"""Pictures that a cache's samples name.

A cache may come from a stranger, who then chose the names. A name leads to a file below the data set's root and nowhere
else. Links that lie there are followed: whoever owns the root made them.
"""

from pathlib import Path, PurePosixPath

from PIL import Image

from cache import shown_text
from pipeline.datasets.pictures import UnusableImageError, read_picture

_LONGEST_NAME = 4096
"""Characters from which on no file system of today has such a path."""


def read_sample_picture(root: Path, file: str, annotated_size: tuple[int | None, int | None]) -> Image.Image:
    """Decode the picture that a row of samples names to RGB, the way its annotations saw it.

    Args:
        root: the data set's root.
        file: the picture's name, as the row has it.
        annotated_size: width and height in pixels, likewise.

    Raises:
        UnusableImageError: the name leads out of `root`, there is no such size, or as `read_picture`.
        DatasetError: as `read_picture`.
    """
    path = _path_below(root, file)
    width, height = annotated_size
    if not (width and height and min(width, height) > 0):
        raise UnusableImageError(path, f"image size is annotated as {width} x {height}")
    return read_picture(path, (width, height))


def _path_below(root: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    if not 0 < len(name) < _LONGEST_NAME or "\0" in name or parts.is_absolute() or ".." in parts.parts:
        raise UnusableImageError(
            root / shown_text(name),
            "image file cannot be used: the cache names no file below the data set's root",
        )
    return root / parts
