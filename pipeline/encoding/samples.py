"""What the cache says of every image and caption besides their activations."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cache import SAMPLES_SCHEMA
from pipeline.datasets.pairs import Caption, ImageRecord

_SPACES = b" \t\r\n"


@dataclass
class Sample:
    """A row of `samples.parquet` in the making: an image with one of its captions, or with none.

    Attributes:
        image_row: row of the image in the cache.
        image: the image.
        caption: its caption.
        skip_reason: why image and caption are no pair, None if they are one.
    """

    image_row: int
    image: ImageRecord
    caption: Caption | None
    skip_reason: str | None


def samples_table(samples: Iterable[Sample], split: str) -> pa.Table:
    """Rows of `SAMPLES_SCHEMA` for samples of one split; those of one image share what is said of its objects."""
    objects: dict[int, list[dict[str, Any]]] = {}
    rows = []
    for sample in samples:
        image, caption = sample.image, sample.caption
        if sample.image_row not in objects:
            objects[sample.image_row] = _objects(image)
        rows.append(
            {
                "image_row": sample.image_row,
                "image_id": image.image_id,
                "caption_id": caption and caption.caption_id,
                "file": image.file.as_posix(),
                "caption": caption and caption.text,
                "width": image.width,
                "height": image.height,
                "categories": list(dict.fromkeys(annotation.category for annotation in image.objects)),
                "objects": objects[sample.image_row],
                "image_concepts": image.concepts,
                "caption_concepts": caption and caption.concepts,
                "split": split,
                "skip_reason": sample.skip_reason,
            }
        )
    return pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA)


def _objects(image: ImageRecord) -> list[dict[str, Any]]:
    return [
        {
            "category": annotation.category,
            "box": annotation.box,
            "segmentation": bytes(annotation.segmentation).translate(None, _SPACES).decode(),
            "concepts": annotation.concepts,
        }
        for annotation in image.objects
    ]
