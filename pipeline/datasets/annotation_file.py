"""A COCO annotation file, read with checks that name the file, the entry and the key in every complaint."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cache import shown_value
from pipeline.datasets.masks import are_coordinates, refuse_malformed
from pipeline.datasets.regular_file import read_regular_file
from pipeline.datasets.strict_json import checked_value, is_text, parse_json
from pipeline.errors import DatasetError

Entry = Mapping[str, Any]
_Value = TypeVar("_Value", int, str, list[Any])

_LARGEST_SIZE = 2**31 - 1


class AnnotationFile:
    """A parsed annotation file.

    Attributes:
        path: where it lies.
        sha256: of its bytes, hex.
        images: its image entries by id, in order.
    """

    def __init__(self, path: Path) -> None:
        """Read `path`.

        Raises:
            DatasetError: it cannot be read, is not JSON or not in COCO layout, or two images share an id; so do the
                methods.
        """
        data = read_regular_file(path)
        try:
            content = parse_json(data)
        except ValueError as error:
            raise DatasetError(f"{path}: not valid JSON: {error}; download or export it again") from None
        if not isinstance(content, dict):
            raise DatasetError(f"{path}: not in COCO layout: its top level must be an object")
        self.path = path
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._content = content
        self.images = self.by_id("images")

    def by_id(self, key: str) -> dict[int, Entry]:
        """The entries under a top-level key by their ids, in order; a repeated id is refused."""
        found: dict[int, Entry] = {}
        for entry in self._entries(key):
            identifier = self.value(entry, "id", int)
            if identifier in found:
                raise DatasetError(f"{self.path}: {key} id {identifier} occurs twice")
            found[identifier] = entry
        return found

    def annotations(self) -> Iterator[tuple[int, int, Entry]]:
        """Annotation id, image id and entry of every annotation; its image must be listed."""
        for identifier, entry in self.by_id("annotations").items():
            image_id = self.value(entry, "image_id", int)
            if image_id not in self.images:
                raise self.error(entry, f"names image {image_id}, missing from 'images'")
            yield identifier, image_id, entry

    def categories(self) -> dict[int, str]:
        """The names of the categories by their ids."""
        names = {
            identifier: self.value(entry, "name", str)
            for identifier, entry in self.by_id("categories").items()
        }
        for entry in self._entries("categories"):
            if not entry["name"].strip():
                raise self.error(entry, "'name' is blank; give the category a name")
        return names

    def value(self, entry: Entry, key: str, kind: type[_Value]) -> _Value:
        """The value under `key`, of the given type."""
        try:
            return checked_value(entry, key, kind)
        except ValueError as error:
            raise self.error(entry, str(error)) from None

    def flag(self, entry: Entry, key: str) -> bool:
        """The flag under `key`: 0, 1, false or true; an absent one is false."""
        value = entry.get(key, False)
        if not isinstance(value, int) or value not in (0, 1):
            raise self.error(entry, f"{key!r} must be 0 or 1, got {shown_value(value)}")
        return bool(value)

    @cached_property
    def sizes(self) -> dict[int, tuple[int, int]]:
        """Width and height of every image by its id: positive whole numbers."""
        return {image_id: self._size(entry) for image_id, entry in self.images.items()}

    def file_name(self, entry: Entry) -> PurePosixPath:
        """The path under "file_name", which stays below the folder that it is relative to."""
        name = self.value(entry, "file_name", str)
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise self.error(entry, f"'file_name' {shown_value(name)} leaves the split's folder")
        return path

    def box(self, entry: Entry) -> tuple[float, float, float, float]:
        """Left, top, width, height under "bbox"; width and height are not negative."""
        box = self.value(entry, "bbox", list)
        if len(box) != 4 or not are_coordinates(box) or min(box[2:]) < 0:
            raise self.error(
                entry,
                "'bbox' must be [x, y, width, height] in pixels, width and height not negative, "
                f"got {shown_value(box)}",
            )
        left, top, width, height = map(float, box)
        return left, top, width, height

    def segmentation(self, entry: Entry) -> str:
        """What is under "segmentation" of an instance as compact JSON text; "" if there is nothing."""
        segmentation = entry.get("segmentation")
        if segmentation is None or segmentation == []:
            return ""
        try:
            refuse_malformed(segmentation, self.sizes[entry["image_id"]])
        except DatasetError as error:
            raise self.error(entry, f"'segmentation': {error}") from None
        return json.dumps(segmentation, separators=(",", ":"))

    def concepts(self, entry: Entry) -> tuple[str, ...] | None:
        """The strings under "concepts", None where there is no such key."""
        if "concepts" not in entry:
            return None
        concepts = self.value(entry, "concepts", list)
        if not all(map(is_text, concepts)):
            raise self.error(entry, f"'concepts' must be a list of strings, got {shown_value(concepts)}")
        return tuple(concepts)

    def error(self, entry: Entry, complaint: str) -> DatasetError:
        """The error to raise about an entry, which is named by its id, or by its place if it has none."""
        key, position = next(
            (key, position)
            for key, entries in self._content.items()
            if isinstance(entries, list)
            for position, one in enumerate(entries)
            if one is entry
        )
        identifier = entry.get("id")
        has_id = isinstance(identifier, int) and not isinstance(identifier, bool)
        place = f"{key}, entry {shown_value(identifier)}" if has_id else f"{key}[{position}]"
        return DatasetError(f"{self.path}: {place}: {complaint}")

    def _size(self, entry: Entry) -> tuple[int, int]:
        width, height = (self.value(entry, key, int) for key in ("width", "height"))
        for key, value in (("width", width), ("height", height)):
            if value <= 0:
                raise self.error(entry, f"{key!r} must be positive, got {value}")
            if value > _LARGEST_SIZE:
                raise self.error(entry, f"{key!r} must be at most {_LARGEST_SIZE}, got {value}")
        return width, height

    def _entries(self, key: str) -> Sequence[Entry]:
        entries = self._content.get(key)
        if not isinstance(entries, list):
            raise DatasetError(f"{self.path}: not in COCO layout: {key!r} must be a list of objects")
        for position, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise DatasetError(
                    f"{self.path}: not in COCO layout: {key!r} must be a list of objects, "
                    f"{key}[{position}] is {shown_value(entry)}"
                )
        return entries
