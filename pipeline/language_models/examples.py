"""Pictures with what they show and what is said of them, from files in COCO layout."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.agreement import refuse_disagreement
from pipeline.datasets.annotation_file import AnnotationFile
from pipeline.datasets.pictures import UnusableImageError, read_upright
from pipeline.errors import DatasetError
from pipeline.language_models.polling import read_objects


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


def read_examples(root: Path, split: str) -> list[Example]:
    """The captioned pictures of a split in COCO layout, in the order of their files.

    Raises:
        DatasetError: a file is missing or not in COCO layout, or both disagree about an image.
    """
    instances = root / "annotations" / f"instances_{split}.json"
    objects = read_objects(instances)
    path = root / "annotations" / f"captions_{split}.json"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; draw the scenes first (`concord scenes`)")
    file = AnnotationFile(path)
    refuse_disagreement(file, AnnotationFile(instances))
    captions: dict[str, list[str]] = {}
    for _, image, entry in file.annotations():
        name = str(file.file_name(file.images[image]))
        captions.setdefault(name, []).append(file.value(entry, "caption", str))
    return [Example(root / split / name, objects[name], tuple(captions[name])) for name in sorted(captions)]
