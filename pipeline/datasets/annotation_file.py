"""A COCO annotation file, read with checks that name the file and the entry in every complaint."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.datasets.masks import refuse_malformed
from pipeline.errors import DatasetError

Entry = Mapping[str, Any]
_Value = TypeVar("_Value", int, str, list[Any])


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
            DatasetError: not JSON, not in COCO layout, or two images share an id; so do the methods.
        """
        data = path.read_bytes()
        try:
            content = json.loads(data)
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

    def value(self, entry: Entry, key: str, kind: type[_Value]) -> _Value:
        """The value under `key`, of the given type."""
        value = entry.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(entry, f"{key!r} must be {kind.__name__}, got {value!s:.80}")
        return value

    def pixels(self, entry: Entry, key: str) -> int:
        """The positive whole number under `key`."""
        value = self.value(entry, key, int)
        if value <= 0:
            raise self.error(entry, f"{key!r} must be positive, got {value}")
        return value

    def box(self, entry: Entry) -> tuple[float, float, float, float]:
        """Left, top, width, height under "bbox"."""
        box = self.value(entry, "bbox", list)
        if len(box) != 4 or not all(isinstance(one, int | float) and math.isfinite(one) for one in box):
            raise self.error(entry, f"'bbox' must be [x, y, width, height], got {box!s:.80}")
        left, top, width, height = map(float, box)
        return left, top, width, height

    def segmentation(self, entry: Entry) -> str:
        """What is under "segmentation" as compact JSON text; "" if there is nothing."""
        segmentation = entry.get("segmentation")
        if not segmentation:
            return ""
        try:
            refuse_malformed(segmentation)
        except DatasetError as error:
            raise self.error(entry, str(error)) from None
        return json.dumps(segmentation, separators=(",", ":"))

    def concepts(self, entry: Entry) -> tuple[str, ...] | None:
        """The strings under "concepts", None where there is no such key."""
        if "concepts" not in entry:
            return None
        concepts = self.value(entry, "concepts", list)
        if not all(isinstance(concept, str) for concept in concepts):
            raise self.error(entry, f"'concepts' must be a list of strings, got {concepts!s:.80}")
        return tuple(concepts)

    def error(self, entry: Entry, complaint: str) -> DatasetError:
        """The error to raise about an entry."""
        return DatasetError(f"{self.path}: entry {entry.get('id')!r}: {complaint}")

    def _entries(self, key: str) -> Sequence[Entry]:
        entries = self._content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DatasetError(f"{self.path}: not in COCO layout: {key!r} must be a list of objects")
        return entries
