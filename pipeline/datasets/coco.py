"""COCO layout: `ROOT/SPLIT/*.jpg` and `ROOT/annotations/{captions,instances}_SPLIT.json`.

The official COCO 2017 folders and the embedded scenes are both read here. One optional key beyond COCO's is
understood: `"concepts": ["colour:red", ...]` on an image of the captions file, on a caption and on an instance.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from cache import shown_value
from pipeline.datasets.agreement import refuse_disagreement
from pipeline.datasets.annotation_file import AnnotationFile, Entry
from pipeline.datasets.fingerprint import fingerprint
from pipeline.datasets.options import CaptionsPerImage
from pipeline.datasets.pairs import Caption, ImageRecord, ObjectAnnotation, choose_captions
from pipeline.datasets.regular_file import ImpossibleNameError, IrregularFileError, file_size
from pipeline.errors import DatasetError


@dataclass(frozen=True)
class CocoDataset:
    """One split of a data set in COCO layout, images in the order of the captions file.

    Attributes:
        annotation_hashes: of the captions file and the instances file, None where there is none.

    The others are `PairDataset`'s.
    """

    name: str
    split: str
    root: Path
    captions_per_image: CaptionsPerImage
    caption_seed: int
    images: Sequence[ImageRecord]
    annotation_hashes: tuple[str, str | None]

    @classmethod
    def open(
        cls, root: Path, split: str, *, captions_per_image: CaptionsPerImage = "one", caption_seed: int = 0
    ) -> Self:
        """Read the annotations of `root`'s `split`, and look for every image file; none is read yet.

        Crowd regions (`iscrowd: 1`) are left out, as in COCO's own evaluation: they outline no single object. So
        are objects whose box has no area. A split without an instances file has images without objects.

        Raises:
            DatasetError: a folder or file is missing (the message lists what exists), the JSON is malformed, two
                entries share an id, an annotation names an image or category that is not listed, the captions file
                and the instances file disagree about an image, or no image file can be used.
        """
        captions_path, instances_path = find_annotations(root, split)
        captions = AnnotationFile(captions_path)
        instances = AnnotationFile(instances_path) if os.path.lexists(instances_path) else None
        if not captions.images:
            raise DatasetError(f"{captions_path}: 'images' is empty; there is nothing to encode")
        problems = [_file_problem(captions, entry, root / split) for entry in captions.images.values()]
        if instances is not None:
            refuse_disagreement(captions, instances)
        if all(problems):
            looked_for = root / split / captions.file_name(next(iter(captions.images.values())))
            raise DatasetError(
                f"{root / split}: none of the {len(problems)} images of {captions_path} is there to be read; the first "
                f"was looked for at {looked_for} ({problems[0]})"
            )
        return cls(
            name=root.resolve().name,
            split=split,
            root=root,
            captions_per_image=captions_per_image,
            caption_seed=caption_seed,
            images=_image_records(captions, instances, problems, split, captions_per_image, caption_seed),
            annotation_hashes=(captions.sha256, instances.sha256 if instances else None),
        )

    @property
    def has_objects(self) -> bool:
        """Whether the split has an instances file."""
        return self.annotation_hashes[1] is not None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the annotations and the content of every picture; reads each of them once.

        Raises:
            DatasetError: a picture may not be read, or the disk fails.
        """
        pictures = [None if image.unusable else self.root / image.file for image in self.images]
        return fingerprint(self.annotation_hashes, pictures)


def find_annotations(root: Path, split: str) -> tuple[Path, Path]:
    """Paths of the captions file and of the instances file, which need not exist; nothing is read.

    Raises:
        DatasetError: the captions file or a folder is missing; the message lists what exists.
    """
    annotations = root / "annotations"
    captions = annotations / f"captions_{split}.json"
    for folder in (root, root / split, annotations):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; {_what_exists(folder)}")
    if not captions.is_file():
        raise DatasetError(f"{captions}: no such file; {_what_exists(captions)}")
    return captions, annotations / f"instances_{split}.json"


def _what_exists(path: Path) -> str:
    """Say what the nearest existing folder above a missing path holds (twelve names at most)."""
    parent = next(folder for folder in path.absolute().parents if folder.is_dir())
    names = sorted(entry.name + "/" * entry.is_dir() for entry in parent.iterdir())
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{parent} holds {shown or 'nothing'}"


def _image_records(
    captions: AnnotationFile,
    instances: AnnotationFile | None,
    problems: Sequence[str | None],
    split: str,
    captions_per_image: CaptionsPerImage,
    caption_seed: int,
) -> list[ImageRecord]:
    texts = _captions_by_image(captions)
    objects = _objects_by_image(instances) if instances else {}
    return [
        ImageRecord(
            image_id=image_id,
            file=Path(split, captions.file_name(entry)),
            width=captions.sizes[image_id][0],
            height=captions.sizes[image_id][1],
            captions=choose_captions(texts.get(image_id, ()), captions_per_image, caption_seed, image_id),
            objects=tuple(objects.get(image_id, ())),
            concepts=captions.concepts(entry),
            unusable=problem,
        )
        for (image_id, entry), problem in zip(captions.images.items(), problems, strict=True)
    ]


def _captions_by_image(file: AnnotationFile) -> dict[int, list[Caption]]:
    captions: dict[int, list[Caption]] = defaultdict(list)
    for caption_id, image_id, entry in file.annotations():
        captions[image_id].append(
            Caption(caption_id, file.value(entry, "caption", str), file.concepts(entry))
        )
    return captions


def _objects_by_image(file: AnnotationFile) -> dict[int, list[ObjectAnnotation]]:
    names = file.categories()
    objects: dict[int, list[ObjectAnnotation]] = defaultdict(list)
    for _, image_id, entry in file.annotations():
        category_id = file.value(entry, "category_id", int)
        if category_id not in names:
            raise file.error(entry, f"names category {category_id}, missing from 'categories'")
        box = file.box(entry)
        if file.flag(entry, "iscrowd") or 0 in box[2:]:
            continue
        objects[image_id].append(
            ObjectAnnotation(
                category=names[category_id],
                box=box,
                segmentation=file.segmentation(entry),
                concepts=file.concepts(entry) or (),
            )
        )
    return objects


def _file_problem(captions: AnnotationFile, entry: Entry, folder: Path) -> str | None:
    """Why an image's file cannot be an image; None if it may be one."""
    try:
        size = file_size(folder / captions.file_name(entry))
    except ImpossibleNameError as error:
        raise captions.error(entry, f"'file_name' {shown_value(entry['file_name'])} {error.reason}") from None
    except IrregularFileError as error:
        return f"image file cannot be used: {error.reason}"
    return "image file missing" if size is None else None
