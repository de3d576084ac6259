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

from msgspec import Raw, UnsetType

from cache import shown_value
from pipeline.datasets.agreement import refuse_disagreement
from pipeline.datasets.annotation_file import (
    AnnotationFile,
    CaptionEntry,
    Concepts,
    ImageEntry,
    InstanceEntry,
)
from pipeline.datasets.fingerprint import fingerprint
from pipeline.datasets.masks import read_segmentation
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
        cls, root: Path, split: str, captions_per_image: CaptionsPerImage = "one", caption_seed: int = 0
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
        if not captions.images:
            raise DatasetError(f"{captions_path}: 'images' is empty; there is nothing to encode")
        entries = captions.images.values()
        files = [Path(split, captions.file_name(entry)) for entry in entries]
        problems = [
            _file_problem(captions, entry, root / file) for entry, file in zip(entries, files, strict=True)
        ]
        if all(problems):
            raise DatasetError(
                f"{root / split}: none of the {len(problems)} images of {captions_path} is there to be read; the first "
                f"was looked for at {root / files[0]} ({problems[0]})"
            )
        texts = {
            image_id: choose_captions(of_image, captions_per_image, caption_seed, image_id)
            for image_id, of_image in _captions_by_image(captions).items()
        }
        instances = AnnotationFile(instances_path) if os.path.lexists(instances_path) else None
        if instances is not None:
            refuse_disagreement(captions, instances)
        objects, unlocated = _objects_by_image(instances) if instances else ({}, {})
        images = [
            ImageRecord(
                image_id=entry.id,
                file=file,
                width=entry.width,
                height=entry.height,
                captions=texts.get(entry.id, ()),
                objects=tuple(objects.pop(entry.id, ())),
                concepts=_stated(entry.concepts),
                unlocated=tuple(unlocated.get(entry.id, ())),
                unusable=problem,
            )
            for entry, file, problem in zip(entries, files, problems, strict=True)
        ]
        return cls(
            name=root.resolve().name,
            split=split,
            root=root,
            captions_per_image=captions_per_image,
            caption_seed=caption_seed,
            images=images,
            annotation_hashes=(captions.sha256, instances.sha256 if instances else None),
        )

    @property
    def has_objects(self) -> bool:
        """Whether the split has an instances file."""
        return self.annotation_hashes[1] is not None

    @cached_property
    def fingerprint(self) -> str:
        """Hash the annotations and the content of every picture, each read once: SHA-256, hex.

        Raises:
            DatasetError: a picture may not be read, or the disk fails.
        """
        pictures = [None if image.unusable else self.root / image.file for image in self.images]
        return fingerprint(self.annotation_hashes, pictures)


def find_annotations(root: Path, split: str) -> tuple[Path, Path]:
    """Find the captions file and the instances file, which need not exist; nothing is read.

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


def _captions_by_image(file: AnnotationFile) -> dict[int, list[Caption]]:
    captions: dict[int, list[Caption]] = defaultdict(list)
    for entry in file.annotations(CaptionEntry):
        captions[entry.image_id].append(Caption(entry.id, entry.caption, _stated(entry.concepts)))
    return captions


def _objects_by_image(
    file: AnnotationFile,
) -> tuple[dict[int, list[ObjectAnnotation]], dict[int, dict[str, None]]]:
    """Read the objects of images, and the categories that are shown in crowds or without a place."""
    names = file.categories()
    objects: dict[int, list[ObjectAnnotation]] = defaultdict(list)
    unlocated: dict[int, dict[str, None]] = defaultdict(dict)
    for entry in file.annotations(InstanceEntry):
        if entry.category_id not in names:
            raise file.error(entry, f"names category {entry.category_id}, missing from 'categories'")
        if entry.iscrowd or not (entry.bbox[2] and entry.bbox[3]):
            unlocated[entry.image_id][names[entry.category_id]] = None
            continue
        objects[entry.image_id].append(
            ObjectAnnotation(
                category=names[entry.category_id],
                box=entry.bbox,
                segmentation=_segmentation(file, entry),
                concepts=_stated(entry.concepts) or (),
            )
        )
    return objects, unlocated


def _stated(concepts: Concepts) -> tuple[str, ...] | None:
    return None if isinstance(concepts, UnsetType) else concepts


def _segmentation(file: AnnotationFile, entry: InstanceEntry) -> Raw:
    """Check the outline and keep it as the file has it; empty where there is none."""
    image = file.images[entry.image_id]
    try:
        outlined = read_segmentation(entry.segmentation, (image.width, image.height))
    except DatasetError as error:
        raise file.error(entry, f"'segmentation': {error}") from None
    return entry.segmentation if len(outlined) else Raw()


def _file_problem(captions: AnnotationFile, entry: ImageEntry, path: Path) -> str | None:
    """Say why an image's file cannot be an image; None if it may be one."""
    try:
        size = file_size(path)
    except ImpossibleNameError as error:
        raise captions.error(entry, f"'file_name' {shown_value(entry.file_name)} {error.reason}") from None
    except IrregularFileError as error:
        return f"image file cannot be used: {error.reason}"
    return "image file missing" if size is None else None
