"""Pictures with what they show and what is said of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.pairs import PairDataset
from pipeline.datasets.pictures import UnusableImageError, read_upright


class Example(NamedTuple):
    """One picture: its file, what it shows and what is said of it."""

    file: Path
    objects: frozenset[str]
    captions: tuple[str, ...]


def unusable_pictures(files: Iterable[Path]) -> dict[Path, str]:
    """Those of the files that cannot be decoded, each once, and why.

    Raises:
        DatasetError: a file cannot be read at all (missing, forbidden, the device fails).
    """
    reasons: dict[Path, str] = {}
    for file in dict.fromkeys(files):
        try:
            read_upright(file)
        except UnusableImageError as error:
            reasons[file] = error.reason
    return reasons


def captioned_examples(dataset: PairDataset) -> list[Example]:
    """The captioned pictures of a data set, in the order of their files."""
    return [
        Example(dataset.root / image.file, image.categories, tuple(one.text for one in image.captions))
        for image in sorted(dataset.images, key=lambda image: image.file.as_posix())
        if image.captions
    ]
