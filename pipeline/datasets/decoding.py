"""Decoding and preprocessing images in threads, ahead of whoever needs them, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.datasets.pairs import ImageRecord
from pipeline.datasets.pictures import UnusableImageError, read_picture

Preprocess = Callable[[Image.Image], Tensor]
Decoded = Float[Tensor, "3 height width"] | UnusableImageError
"""The backbone's input for an image, or the reason why there is none."""


class DecodedAhead(Iterator[Decoded]):
    """What the backbone reads of every image, in the order of the images; the first ones are begun at once.

    Decoders release the interpreter lock, so threads suffice.
    """

    def __init__(
        self, images: Iterable[ImageRecord], root: Path, preprocess: Preprocess, *, workers: int, ahead: int
    ) -> None:
        """Decode with `workers` threads; at most `ahead` images are decoded and not yet taken."""
        self._images = iter(images)
        self._root = root
        self._preprocess = preprocess
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._waiting: deque[Future[Decoded]] = deque()
        self._begin(ahead)

    def __next__(self) -> Decoded:
        """The next image.

        Raises:
            DatasetError: a file cannot be read although it was there when the data set was opened.
            Exception: whatever `preprocess` raises, with a note that names the file.
        """
        if not self._waiting:
            raise StopIteration
        decoded = self._waiting.popleft().result()
        self._begin(1)
        return decoded

    def close(self) -> None:
        """Drop what is queued and wait for the images in work."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, images: int) -> None:
        for image in islice(self._images, images):
            self._waiting.append(self._pool.submit(_decode, image, self._root, self._preprocess))


def _decode(image: ImageRecord, root: Path, preprocess: Preprocess) -> Decoded:
    if image.missing:
        return UnusableImageError("image file missing")
    path = root / image.file
    try:
        return preprocess(read_picture(path, (image.width, image.height)))
    except UnusableImageError as reason:
        return reason
    except Exception as error:
        error.add_note(f"while preparing {path}")
        raise
