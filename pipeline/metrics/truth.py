"""What samples state of the true concepts of their items, as "kind:value" (`noun:boat`), and which can be asked."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from pipeline.metrics.not_defined import NotDefined

NOT_TOLD = NotDefined("the samples do not state their true concepts")


class Truth(NamedTuple):
    """What is true of the items of a cache whose samples state it.

    Attributes:
        images: The row of samples of each image, under its first pair.
        captions: The concepts of each pair's caption, under the pair.
    """

    images: dict[int, dict[str, Any]]
    captions: dict[int, list[str]]


class AskedConcepts(NamedTuple):
    """The concepts that enough items have, and enough lack, on both sides.

    Attributes:
        names: "kind:value", sorted.
        vision: Which image has which of them.
        text: Which caption has which of them.
        numbers: `concepts`, how many there are, and `too_rare`, how many others the items have.
    """

    names: list[str]
    vision: Bool[np.ndarray, "image concept"]
    text: Bool[np.ndarray, "caption concept"]
    numbers: dict[str, int]


def read_truth(samples: pa.Table) -> Truth:
    """Read what is true of each image and of each pair's caption from a cache's samples."""
    columns = ["pair", "image_row", "width", "height", "objects", "image_concepts", "caption_concepts"]
    images: dict[int, dict[str, Any]] = {}
    captions: dict[int, list[str]] = {}
    rows_read = set()
    for row in samples.select(columns).filter(pc.is_valid(samples["pair"])).to_pylist():
        if row["image_concepts"] is not None and row["image_row"] not in rows_read:
            images[row["pair"]] = row | {"objects": row["objects"] or []}
        rows_read.add(row["image_row"])
        if row["caption_concepts"] is not None:
            captions[row["pair"]] = row["caption_concepts"]
    return Truth(images, captions)


def asked_concepts(
    shown: Sequence[Sequence[str]], said: Sequence[Sequence[str]], least: int
) -> AskedConcepts:
    """Choose the concepts to ask for.

    Args:
        shown: The concepts of each image.
        said: The concepts of each caption.
        least: Items with a concept, and without it, that each side needs for the concept to be asked.
    """
    known = sorted(set(chain(*shown, *said)))
    vision, text = label_matrix(shown, known), label_matrix(said, known)
    asked = askable(vision, text, least)
    numbers = {"concepts": len(asked), "too_rare": len(known) - len(asked)}
    return AskedConcepts([known[column] for column in asked], vision[:, asked], text[:, asked], numbers)


def none_asked(least: int) -> NotDefined:
    """Say why no concept was asked."""
    return NotDefined(f"no concept has {least} items that have it and as many that lack it, on both sides")


def label_matrix(items: Sequence[Sequence[str]], concepts: Sequence[str]) -> Bool[np.ndarray, "item concept"]:
    """Whether each item's list holds each of `concepts`; other concepts in the lists are ignored."""
    column = {concept: index for index, concept in enumerate(concepts)}
    labels = np.zeros((len(items), len(concepts)), dtype=bool)
    for row, held in enumerate(items):
        labels[row, [column[concept] for concept in held if concept in column]] = True
    return labels


def askable(
    vision: Bool[np.ndarray, "image concept"], text: Bool[np.ndarray, "caption concept"], least: int
) -> list[int]:
    """Columns with at least `least` items that have the concept and as many that lack it, on both sides."""
    sides = [np.minimum(labels.sum(axis=0), (~labels).sum(axis=0)) for labels in (vision, text)]
    return [int(column) for column in np.flatnonzero(np.minimum(*sides) >= least)]
