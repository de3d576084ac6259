"""What every data set gives: images with their captions, and what is known of the objects in them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Raw, Struct

from pipeline.datasets.options import CaptionsPerImage


class ObjectAnnotation(Struct, frozen=True, gc=False):
    """One object of an image.

    Attributes:
        category: its noun, as the data set spells it.
        box: left, top, width, height in pixels of the annotated image size.
        segmentation: its outline as a COCO segmentation (polygons or RLE) in JSON, as the data set's file has it; empty
            when unknown.
        concepts: ground-truth concepts as "kind:value"; empty when the data set states none.
    """

    category: str
    box: tuple[float, float, float, float]
    segmentation: Raw
    concepts: tuple[str, ...]


class Caption(Struct, frozen=True, gc=False):
    """One sentence about an image; `concepts` is None when the data set states no ground truth."""

    caption_id: int
    text: str
    concepts: tuple[str, ...] | None


class ImageRecord(Struct, frozen=True, gc=False):
    """One image and all that is said of it.

    Attributes:
        image_id: the data set's own number of the image, unique in it.
        file: path relative to the data set's root.
        width, height: the annotated size in pixels, in which boxes and segmentations are measured.
        captions: in the data set's order; may be empty.
        objects: in the data set's order; may be empty.
        concepts: ground-truth concepts of the picture, None when the data set states none.
        unlocated: categories that it shows in crowds or in boxes without area; they may not be in `objects`.
        unusable: why the file cannot be an image (it is missing, or a folder), found out when the data set is opened.
    """

    image_id: int
    file: Path
    width: int
    height: int
    captions: tuple[Caption, ...]
    objects: tuple[ObjectAnnotation, ...]
    concepts: tuple[str, ...] | None
    unlocated: tuple[str, ...] = ()
    unusable: str | None = None

    @property
    def categories(self) -> frozenset[str]:
        """Everything that the image shows, as far as the data set says."""
        return frozenset(self.unlocated).union(one.category for one in self.objects)


class PairDataset(Protocol):
    """One split of a data set, ready to be encoded."""

    @property
    def name(self) -> str:
        """What reports call the data set."""

    @property
    def split(self) -> str:
        """Name of the split in the data set's own files."""

    @property
    def root(self) -> Path:
        """The folder that image files are relative to."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) that changes whenever annotations or image files do; reads every one of them once."""

    @property
    def captions_per_image(self) -> CaptionsPerImage:
        """Whether `images` carry one chosen caption each or all of them."""

    @property
    def caption_seed(self) -> int:
        """What the choice of that one caption was seeded with."""

    @property
    def has_objects(self) -> bool:
        """Whether it is known at all which objects the images show."""

    @property
    def images(self) -> Sequence[ImageRecord]:
        """The images in a fixed order."""


def choose_captions(
    captions: Sequence[Caption], captions_per_image: CaptionsPerImage, seed: int, image_id: int
) -> tuple[Caption, ...]:
    """Keep all captions of an image, or the one that `seed` and `image_id` choose.

    The choice hangs on nothing else (not on the other images, the epoch, the backbone or the Python version), so
    caches of two backbones hold the same pairs. Blank captions are chosen only where there is no other.
    """
    if captions_per_image == "all" or len(captions) <= 1:
        return tuple(captions)
    candidates = [caption for caption in captions if caption.text.strip()] or list(captions)
    digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
    return (candidates[int.from_bytes(digest[:8], "big") % len(candidates)],)
