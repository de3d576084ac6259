"""Decoding and preprocessing images in threads, ahead of whoever needs them, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.datasets.pairs import ImageRecord
from pipeline.datasets.pictures import UnusableImageError, read_picture

Preprocess = Callable[[Image.Image], Tensor]


def decode_ahead(
    images: Iterable[ImageRecord], root: Path, preprocess: Preprocess, *, workers: int, ahead: int
) -> Generator[Float[Tensor, "3 height width"] | UnusableImageError, None, None]:
    """Yield the backbone's input for every image, or the reason why there is none, in the order of `images`.

    Decoders release the interpreter lock, so threads suffice. At most `ahead` images are decoded and not yet taken.
    Closing the iterator (or an error in it) drops what is queued and waits for the images in work.

    Raises:
        DatasetError: a file cannot be read although it was there when the data set was opened.
        Exception: whatever `preprocess` raises, with a note that names the file.
    """
    waiting: deque[Future[Tensor | UnusableImageError]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for image in images:
            waiting.append(pool.submit(_decode, image, root, preprocess))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(image: ImageRecord, root: Path, preprocess: Preprocess) -> Tensor | UnusableImageError:
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
