"""From an image of a data set to what a backbone reads of it."""

from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.datasets.pairs import ImageRecord
from pipeline.datasets.pictures import UnusableImageError, read_picture

Preprocess = Callable[[Image.Image], Tensor]
Decoded = Float[Tensor, "3 height width"] | UnusableImageError
"""The backbone's input for an image, or the reason why there is none."""


def decode(image: ImageRecord, root: Path, preprocess: Preprocess) -> Decoded:
    """Read and preprocess the picture of `image`, a file below `root`.

    Raises:
        DatasetError: the file cannot be read although it was there when the data set was opened.
        Exception: whatever `preprocess` raises, with a note that names the file.
    """
    path = root / image.file
    if image.unusable is not None:
        return UnusableImageError(path, image.unusable)
    try:
        return preprocess(read_picture(path, (image.width, image.height)))
    except UnusableImageError as reason:
        return reason
    except Exception as error:
        error.add_note(f"while preparing {path}")
        raise
