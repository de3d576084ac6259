"""A COCO annotation file, read entry by entry: every complaint names the file, the entry, the key and the value.

Entries are decoded one at a time, and outlines only when they are asked for: a file of a million of them takes little
more memory than its bytes.
"""

import contextlib
import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs
from msgspec.json import Decoder

from cache import shown_value
from pipeline.datasets.masks import Coordinate, Extent
from pipeline.datasets.regular_file import read_regular_file
from pipeline.datasets.strict_json import (
    Identifier,
    decode_json,
    parse_json,
    refuse_repeated_keys,
    split_lists,
    utf8,
)
from pipeline.errors import DatasetError

Pixels = Annotated[int, Meta(gt=0, lt=2**31)]
Concepts = tuple[str, ...] | UnsetType


class Entry(Struct, frozen=True, gc=False):
    """What every entry has; each kind of entry stands under one key of the file."""

    KEY: ClassVar[str]

    id: Identifier


class ImageEntry(Entry, frozen=True, gc=False):
    """An image, with width and height in pixels."""

    KEY: ClassVar[str] = "images"

    file_name: str
    width: Pixels
    height: Pixels
    concepts: Concepts = UNSET


class CaptionEntry(Entry, frozen=True, gc=False):
    """A caption of an image."""

    KEY: ClassVar[str] = "annotations"

    image_id: Identifier
    caption: str
    concepts: Concepts = UNSET


class InstanceEntry(Entry, frozen=True, gc=False):
    """An object of an image, or a crowd; the box is left, top, width, height in pixels."""

    KEY: ClassVar[str] = "annotations"

    image_id: Identifier
    category_id: Identifier
    bbox: tuple[Coordinate, Coordinate, Extent, Extent]
    iscrowd: bool | Literal[0, 1] = False
    segmentation: Raw = Raw(b"null")
    concepts: Concepts = UNSET


class CategoryEntry(Entry, frozen=True, gc=False):
    """A category of objects."""

    KEY: ClassVar[str] = "categories"

    name: str


class _Lists(Struct):
    """The lists of a file, their entries not decoded yet."""

    images: list[Raw]
    annotations: list[Raw]
    categories: list[Raw] = []


_Entry = TypeVar("_Entry", bound=Entry)
_Annotation = TypeVar("_Annotation", CaptionEntry, InstanceEntry)


class AnnotationFile:
    """An opened annotation file.

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
        self.path = path
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._lists = structs.asdict(split_lists(utf8(data), _Lists))
        except ValueError as error:
            raise DatasetError(
                f"{path}: not JSON in COCO layout: {error}; download or export it again"
            ) from None
        self.images = {entry.id: entry for entry in self.entries(ImageEntry)}

    def entries(self, kind: type[_Entry]) -> Iterator[_Entry]:
        """Decode the entries under a kind's key, in order, once: their text is let go. A repeated id is refused."""
        decoder = Decoder(kind)
        ids = array("q")
        for position, text in enumerate(self._lists.pop(kind.KEY)):
            try:
                refuse_repeated_keys(bytes(text))
                entry = decode_json(text, decoder)
            except ValueError as error:
                raise self._error(f"{kind.KEY}{_place(text, position)}", str(error)) from None
            ids.append(entry.id)
            yield entry
        in_order = np.sort(np.asarray(ids))
        repeated = in_order[1:][in_order[1:] == in_order[:-1]]
        if len(repeated):
            raise DatasetError(f"{self.path}: {kind.KEY} id {repeated[0]} occurs twice")

    def annotations(self, kind: type[_Annotation]) -> Iterator[_Annotation]:
        """Decode the annotations, in order; the image of each must be listed."""
        for entry in self.entries(kind):
            if entry.image_id not in self.images:
                raise self.error(entry, f"names image {entry.image_id}, missing from 'images'")
            yield entry

    def categories(self) -> dict[int, str]:
        """Read the names of the categories by their ids."""
        names = {}
        for entry in self.entries(CategoryEntry):
            if not entry.name.strip():
                raise self.error(entry, "'name' is blank; give the category a name")
            names[entry.id] = entry.name
        return names

    def file_name(self, entry: ImageEntry) -> PurePosixPath:
        """Read the path of an image, which stays below the folder that it is relative to."""
        path = PurePosixPath(entry.file_name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise self.error(entry, f"'file_name' {shown_value(entry.file_name)} leaves the split's folder")
        return path

    def error(self, entry: Entry, complaint: str) -> DatasetError:
        """Word the error to raise about an entry."""
        return self._error(f"{entry.KEY}, entry {entry.id}", complaint)

    def _error(self, place: str, complaint: str) -> DatasetError:
        return DatasetError(f"{self.path}: {place}: {complaint}")


def _place(text: Raw, position: int) -> str:
    """Name an entry that is no good by its id, or by its place if it has none."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        identifier = parse_json(bytes(text))["id"]
        if type(identifier) is int:
            return f", entry {shown_value(identifier)}"
    return f"[{position}]"
