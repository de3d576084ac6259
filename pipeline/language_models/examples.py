"""Pictures with what they show and what is said of them, from files in COCO layout."""

from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.agreement import refuse_disagreement
from pipeline.datasets.annotation_file import AnnotationFile
from pipeline.errors import DatasetError
from pipeline.language_models.polling import read_objects


class Example(NamedTuple):
    """One picture: its file, what it shows and what is said of it."""

    file: Path
    objects: frozenset[str]
    captions: tuple[str, ...]


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
