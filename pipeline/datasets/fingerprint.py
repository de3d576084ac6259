"""What a data set holds, as one hash: its annotations and the content of every picture, wherever it lies."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

from pipeline.datasets.pictures import FILE_LIMIT
from pipeline.datasets.regular_file import IrregularFileError, read_regular_file

_READERS = 8
"""Threads that read pictures: a disk serves several at once, and most of the time is waiting for it."""


def fingerprint(annotations: Sequence[str | None], pictures: Sequence[Path | None]) -> str:
    """Hash the hashes of annotation files and the content of pictures: SHA-256, hex.

    Every picture is read once. A picture of the same size in place of another is another data set: its activations
    would be kept otherwise.

    Args:
        annotations: Hashes of the annotation files, None for one that does not exist.
        pictures: The picture files in the order of the data set, None for one that cannot be used.

    Raises:
        DatasetError: a picture may not be read, or the disk fails.
    """
    with ThreadPoolExecutor(_READERS, thread_name_prefix="fingerprint") as pool:
        contents = list(pool.map(_content, pictures))
    return hashlib.sha256(json.dumps([*annotations, contents]).encode()).hexdigest()


def _content(picture: Path | None) -> str | None:
    if picture is None:
        return None
    try:
        return blake3(read_regular_file(picture, FILE_LIMIT)).hexdigest()
    except IrregularFileError as error:  # decoding skips it for the same reason
        return error.reason
