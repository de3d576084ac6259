"""What grounding is asked about: each image with each category it shows, and where in the image that is."""

import dataclasses
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from pipeline.datasets.geometry import ResizeMode, patch_coverage
from pipeline.metrics.naming import is_named

Box = tuple[float, float, float, float]
SUBDIVISION = 8


@dataclasses.dataclass(frozen=True, eq=False)
class GroundingTarget:
    """One category in one image.

    Attributes:
        pair: The pair that speaks for the image: its first whose caption names the category, else its first.
        caption: That pair's caption.
        category: The category to find.
        absent_category: A category that the image does not show and the caption does not name; None if there is none.
        coverage: float32 share of each patch inside the union of the category's boxes; not all zero.
    """

    pair: int
    caption: str
    category: str
    absent_category: str | None
    coverage: Float[np.ndarray, "patch"]


def box_categories(samples: pa.Table) -> list[str]:
    """The categories that have a box anywhere in `samples`, sorted."""
    rows = samples.column("objects").to_pylist()
    return sorted(
        {thing["category"] for objects in rows for thing in objects or () if _has_area(thing["box"])}
    )


def grounding_targets(
    samples: pa.Table, categories: Sequence[str], grid: tuple[int, int], resize_mode: ResizeMode
) -> tuple[list[GroundingTarget], Counter[str]]:
    """Every (image, category) to be grounded, in the order of the samples, and what was left out.

    Args:
        samples: The cache's samples; rows without a pair are ignored.
        categories: The categories to ask about, sorted; others are counted as `unknown_to_tokenizer`.
        grid: Rows and columns of the patch grid.
        resize_mode: How the backbone fits the image to its input.

    Returns:
        The targets; and counts of `without_boxes` (listed for the image, no box), `unknown_to_tokenizer` and
        `out_of_view` (cut away by the crop), each in (image, category) items.
    """
    targets, left_out = [], Counter[str]()
    for rows in _rows_by_image(samples):
        boxes = _boxes_by_category(rows[0])
        for category in sorted(boxes):
            coverage = union_coverage(boxes[category], _size(rows[0]), grid, resize_mode)
            if not boxes[category]:
                left_out["without_boxes"] += 1
            elif category not in categories:
                left_out["unknown_to_tokenizer"] += 1
            elif not coverage.any():
                left_out["out_of_view"] += 1
            else:
                row = next((row for row in rows if is_named(row["caption"], category)), rows[0])
                absent = _absent_category(row, category, categories, boxes)
                targets.append(GroundingTarget(row["pair"], row["caption"], category, absent, coverage))
    return targets, left_out


def union_coverage(
    boxes: Iterable[Box], image_size: tuple[int, int], grid: tuple[int, int], resize_mode: ResizeMode
) -> Float[np.ndarray, "patch"]:
    """Share of each patch inside the union of `boxes`, float32 in [0, 1].

    The boxes are united, as the largest coverage, on a grid eight times finer than the patches: exact wherever no
    two boxes end inside one fine cell.
    """
    rows, columns = grid
    fine = (rows * SUBDIVISION, columns * SUBDIVISION)
    united = np.zeros(fine, dtype=np.float32)
    for box in boxes:
        united = np.maximum(united, patch_coverage(box, image_size, fine, resize_mode).numpy().reshape(fine))
    return np.asarray(united.reshape(rows, SUBDIVISION, columns, SUBDIVISION).mean(axis=(1, 3)).ravel())


def _rows_by_image(samples: pa.Table) -> list[list[dict[str, Any]]]:
    images: dict[int, list[dict[str, Any]]] = {}
    columns = ["pair", "image_row", "image_id", "caption", "width", "height", "categories", "objects"]
    for row in samples.select(columns).to_pylist():
        if row["pair"] is not None:
            images.setdefault(row["image_row"], []).append(row)
    return list(images.values())


def _boxes_by_category(row: Mapping[str, Any]) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = {category: [] for category in row["categories"] or ()}
    for thing in row["objects"] or ():
        held = boxes.setdefault(thing["category"], [])
        if _has_area(thing["box"]):
            held.append(tuple(thing["box"]))
    return boxes


def _has_area(box: Sequence[float] | None) -> bool:
    return box is not None and len(box) == 4 and box[2] > 0 and box[3] > 0


def _size(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["width"], row["height"]


def _absent_category(
    row: Mapping[str, Any], category: str, categories: Sequence[str], shown: Container[str]
) -> str | None:
    """Deterministic, and spread over the absent categories: the next one after a start set by image and category."""
    start = int(row["image_id"]) + categories.index(category)
    for step in range(len(categories)):
        candidate = categories[(start + step) % len(categories)]
        if candidate not in shown and not is_named(row["caption"], candidate):
            return candidate
    return None
