"""COCO layout: `ROOT/SPLIT/*.jpg` and `ROOT/annotations/{captions,instances}_SPLIT.json`.

The official COCO 2017 folders and the embedded scenes are both read here. One optional key beyond COCO's is
understood: `"concepts": ["colour:red", ...]` on an image of the captions file, on a caption and on an instance.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeVar

from pydantic import Field

from pipeline.config import Options
from pipeline.datasets.pairs import Caption, CaptionsPerImage, ImageRecord, ObjectAnnotation, choose_captions
from pipeline.errors import DatasetError

Entry = Mapping[str, Any]
_Value = TypeVar("_Value", int, str, list[Any])


class DatasetOptions(Options):
    """Which data set to encode: a folder in COCO layout, and how its folders serve as splits."""

    root: Path = Field(description="folder in COCO layout")
    splits: dict[str, str] = Field(
        min_length=1,
        description="split as the pipeline calls it -> split as the files call it (val: val2017)",
    )
    captions_per_image: CaptionsPerImage = Field(
        default="one",
        description="one: the caption that caption_seed and the image id choose; all: each is a pair",
    )
    caption_seed: int = Field(default=0, ge=0, description="seeds the choice of the one caption")

    def open(self, split: str) -> "CocoDataset":
        """Open the split that the pipeline calls `split`.

        Raises:
            DatasetError: there is no such split, or its files cannot be used.
        """
        if split not in self.splits:
            known = ", ".join(sorted(self.splits))
            raise DatasetError(f"dataset.splits: no split {split!r}; the splits are {known}")
        return CocoDataset.open(
            self.root,
            self.splits[split],
            captions_per_image=self.captions_per_image,
            caption_seed=self.caption_seed,
        )


@dataclass(frozen=True)
class CocoDataset:
    """One split of a data set in COCO layout, images in the order of the captions file.

    Attributes:
        has_objects: whether the split has an instances file.

    The others are `PairDataset`'s.
    """

    name: str
    split: str
    root: Path
    fingerprint: str
    captions_per_image: CaptionsPerImage
    caption_seed: int
    images: Sequence[ImageRecord]
    has_objects: bool

    @classmethod
    def open(
        cls, root: Path, split: str, *, captions_per_image: CaptionsPerImage = "one", caption_seed: int = 0
    ) -> Self:
        """Read the annotations of `root`'s `split`; no image is opened yet.

        Crowd regions (`iscrowd: 1`) are left out, as in COCO's own evaluation: they outline no single object. So
        are objects whose box has no area. A split without an instances file has images without objects.

        Raises:
            DatasetError: a folder or file is missing (the message lists what exists), the JSON is malformed, two
                entries share an id, an annotation names an image or category that is not listed, or no image
                file exists.
        """
        captions_path, instances_path = _annotation_paths(root, split)
        captions_file = _AnnotationFile.read(captions_path)
        instances_file = _AnnotationFile.read(instances_path) if instances_path.exists() else None
        captions = _captions_by_image(captions_file)
        objects = _objects_by_image(instances_file) if instances_file else {}
        images = []
        sizes: list[int | None] = []
        for image_id, entry in captions_file.images.items():
            file = _image_path(captions_file, entry, split)
            sizes.append(_file_size(root / file))
            images.append(
                ImageRecord(
                    image_id=image_id,
                    file=file,
                    width=captions_file.positive(entry, "width"),
                    height=captions_file.positive(entry, "height"),
                    captions=choose_captions(
                        captions.get(image_id, ()), captions_per_image, caption_seed, image_id
                    ),
                    objects=tuple(objects.get(image_id, ())),
                    concepts=_concepts(captions_file, entry),
                    missing=sizes[-1] is None,
                )
            )
        if all(image.missing for image in images):
            raise DatasetError(
                f"{root / split}: none of the {len(images)} images of {captions_path} is there"
            )
        return cls(
            name=root.resolve().name,
            split=split,
            root=root,
            fingerprint=_fingerprint((captions_file, instances_file), images, sizes),
            captions_per_image=captions_per_image,
            caption_seed=caption_seed,
            images=images,
            has_objects=instances_file is not None,
        )


@dataclass(frozen=True)
class _AnnotationFile:
    """A parsed annotation file whose checked accessors name the file and the entry in every complaint."""

    path: Path
    sha256: str
    content: Entry
    images: dict[int, Entry]

    @classmethod
    def read(cls, path: Path) -> Self:
        data = path.read_bytes()
        try:
            content = json.loads(data)
        except ValueError as error:
            raise DatasetError(f"{path}: not valid JSON: {error}; download or export it again") from None
        if not isinstance(content, dict):
            raise DatasetError(f"{path}: not in COCO layout: its top level must be an object")
        images: dict[int, Entry] = {}
        file = cls(path, hashlib.sha256(data).hexdigest(), content, images)
        images.update(file.by_id("images"))
        return file

    def entries(self, key: str) -> Sequence[Entry]:
        """The list of objects under a top-level key."""
        entries = self.content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DatasetError(f"{self.path}: not in COCO layout: {key!r} must be a list of objects")
        return entries

    def by_id(self, key: str) -> dict[int, Entry]:
        """The entries under a top-level key by their ids, in order; a repeated id is refused."""
        found: dict[int, Entry] = {}
        for entry in self.entries(key):
            identifier = self.field(entry, "id", int)
            if identifier in found:
                raise DatasetError(f"{self.path}: {key} id {identifier} occurs twice")
            found[identifier] = entry
        return found

    def annotations(self) -> Iterator[tuple[int, int, Entry]]:
        """Annotation id, image id and entry of every annotation."""
        for identifier, entry in self.by_id("annotations").items():
            image_id = self.field(entry, "image_id", int)
            if image_id not in self.images:
                raise DatasetError(
                    f"{self.path}: annotation {identifier} names image {image_id}, missing from 'images'"
                )
            yield identifier, image_id, entry

    def field(self, entry: Entry, key: str, kind: type[_Value]) -> _Value:
        """The value under `key`, of the given type."""
        value = entry.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DatasetError(
                f"{self.path}: entry {entry.get('id')!r}: {key!r} must be {kind.__name__}, got {value!s:.80}"
            )
        return value

    def positive(self, entry: Entry, key: str) -> int:
        """The positive whole number under `key`."""
        value = self.field(entry, key, int)
        if value <= 0:
            raise DatasetError(
                f"{self.path}: entry {entry.get('id')!r}: {key!r} must be positive, got {value}"
            )
        return value


def _annotation_paths(root: Path, split: str) -> tuple[Path, Path]:
    """Paths of the captions file (which exists) and the instances file (which may not)."""
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


def _captions_by_image(file: _AnnotationFile) -> dict[int, list[Caption]]:
    captions: dict[int, list[Caption]] = defaultdict(list)
    for caption_id, image_id, entry in file.annotations():
        captions[image_id].append(
            Caption(caption_id, file.field(entry, "caption", str), _concepts(file, entry))
        )
    return captions


def _objects_by_image(file: _AnnotationFile) -> dict[int, list[ObjectAnnotation]]:
    names = {key: file.field(entry, "name", str) for key, entry in file.by_id("categories").items()}
    objects: dict[int, list[ObjectAnnotation]] = defaultdict(list)
    for identifier, image_id, entry in file.annotations():
        category_id = file.field(entry, "category_id", int)
        if category_id not in names:
            raise DatasetError(
                f"{file.path}: annotation {identifier} names category {category_id}, missing from 'categories'"
            )
        left, top, width, height = _box(file, entry)
        if entry.get("iscrowd") or width <= 0 or height <= 0:
            continue
        segmentation = entry.get("segmentation")
        objects[image_id].append(
            ObjectAnnotation(
                category=names[category_id],
                box=(left, top, width, height),
                segmentation=json.dumps(segmentation, separators=(",", ":")) if segmentation else "",
                concepts=_concepts(file, entry) or (),
            )
        )
    return objects


def _box(file: _AnnotationFile, entry: Entry) -> tuple[float, float, float, float]:
    box = file.field(entry, "bbox", list)
    if len(box) != 4 or not all(isinstance(value, int | float) and math.isfinite(value) for value in box):
        raise DatasetError(
            f"{file.path}: entry {entry.get('id')!r}: 'bbox' must be [x, y, width, height], got {box!s:.80}"
        )
    left, top, width, height = map(float, box)
    return left, top, width, height


def _concepts(file: _AnnotationFile, entry: Entry) -> tuple[str, ...] | None:
    return tuple(file.field(entry, "concepts", list)) if "concepts" in entry else None


def _image_path(file: _AnnotationFile, entry: Entry, split: str) -> Path:
    """Path of an image relative to the root, with forward slashes only inside the split's folder."""
    name = PurePosixPath(file.field(entry, "file_name", str))
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise DatasetError(
            f"{file.path}: entry {entry.get('id')!r}: 'file_name' {str(name)!r} leaves the split's folder"
        )
    return Path(split, name)


def _file_size(path: Path) -> int | None:
    """Size in bytes, None when there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _fingerprint(
    files: Sequence[_AnnotationFile | None], images: Sequence[ImageRecord], sizes: Sequence[int | None]
) -> str:
    """SHA-256 over the annotation bytes and every image's name and size in bytes (no image is read)."""
    content = {
        "annotations": [file and file.sha256 for file in files],
        "images": [(image.file.as_posix(), size) for image, size in zip(images, sizes, strict=True)],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
