"""The pictures of a data set as the batches that the backbone reads, decoded by threads ahead of it."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.ahead import Ahead
from pipeline.datasets.decoding import Preprocess, decode
from pipeline.datasets.pairs import ImageRecord
from pipeline.datasets.pictures import UnusableImageError

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

_DECODED_AT_ONCE = 4
"""Pictures that a thread decodes before it asks for more: handing over each by itself would hold up the backbone."""


class PictureBatch(NamedTuple):
    """What the backbone reads of some images, and by position the reason why one of them is blank."""

    pixels: Float[Tensor, "image 3 height width"]
    unusable: dict[int, str]


class PictureBatches(Iterator[PictureBatch]):
    """Batches of decoded pictures in the given order, the next two of them in the making.

    Threads put what they decode where the backbone reads it; for a GPU that is pinned memory, from which pixels are
    copied while the GPU computes. A blank picture stands in for what is unusable, so that batches stay as they are.
    """

    def __init__(
        self, batches: Sequence[Sequence[ImageRecord]], root: Path, backbone: "Backbone", *, workers: int
    ) -> None:
        """Decode the images of `batches`, files below `root`, for `backbone` with `workers` threads."""
        blank = backbone.preprocess(Image.new("RGB", (16, 16)))
        pinned = backbone.device.type == "cuda"
        self._decoded = Ahead(
            partial(_decode_part, root=root, preprocess=backbone.preprocess, blank=blank),
            (part for images in batches for part in _parts(images, blank.shape, pinned)),
            workers=workers,
            ahead=2 * -(-max(map(len, batches), default=0) // _DECODED_AT_ONCE),
            name="decode",
        )

    def __next__(self) -> PictureBatch:
        """The next batch.

        Raises:
            DatasetError, Exception: as `decode`.
        """
        part = next(self._decoded)
        while not part.is_last:
            part = next(self._decoded)
        return part.batch

    def close(self) -> None:
        """Drop what is not decoded yet."""
        self._decoded.close()


class _Part(NamedTuple):
    """Some images of a batch, whose first one is number `start` in it."""

    batch: PictureBatch
    images: Sequence[ImageRecord]
    start: int

    @property
    def is_last(self) -> bool:
        return self.start + len(self.images) == len(self.batch.pixels)


def _parts(images: Sequence[ImageRecord], shape: torch.Size, pinned: bool) -> Iterator[_Part]:
    batch = PictureBatch(torch.empty(len(images), *shape, pin_memory=pinned), {})
    for start in range(0, len(images), _DECODED_AT_ONCE):
        yield _Part(batch, images[start : start + _DECODED_AT_ONCE], start)


def _decode_part(
    part: _Part, root: Path, preprocess: Preprocess, blank: Float[Tensor, "3 height width"]
) -> _Part:
    for position, image in enumerate(part.images, part.start):
        decoded = decode(image, root, preprocess)
        if isinstance(decoded, UnusableImageError):
            part.batch.unusable[position] = decoded.reason
            decoded = blank
        part.batch.pixels[position] = decoded
    return part
