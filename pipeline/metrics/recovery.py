"""Concept recovery: does one shared latent stand for one true concept, on both sides?

Only data sets whose samples state their true concepts (`noun:boat`, `colour:red`, ...) can be asked.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pipeline.metrics.average_precision import average_precision


class BestLatents(NamedTuple):
    """Per concept the latent of one side that finds it best.

    Attributes:
        average_precision: Of every shared latent for every concept.
        latent: int64, the best one; the lowest of those that tie.
        best: Its average precision.
        prevalence: Share of the items with the concept: what a latent without information scores.
        chance: Average precision of the best latent after the labels were shuffled over the items: what choosing
            the best of so many latents gains by luck alone.
    """

    average_precision: Float[np.ndarray, "shared_latent concept"]
    latent: Int[np.ndarray, "concept"]
    best: Float[np.ndarray, "concept"]
    prevalence: Float[np.ndarray, "concept"]
    chance: Float[np.ndarray, "concept"]


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


def best_latents(
    codes: Float[np.ndarray, "item shared_latent"],
    labels: Bool[np.ndarray, "item concept"],
    generator: np.random.Generator,
) -> BestLatents:
    """Score every shared latent of one side's items as a detector of every concept, and keep the best."""
    scores = average_precision(codes, labels)
    shuffled = average_precision(codes, generator.permutation(labels, axis=0))
    prevalence = labels.mean(axis=0)
    return BestLatents(scores, scores.argmax(axis=0), scores.max(axis=0), prevalence, shuffled.max(axis=0))


def concept_recovery(concepts: Sequence[str], vision: BestLatents, text: BestLatents) -> dict[str, Any]:
    """Summary over concepts of the form "kind:value", as it stands in metrics.json.

    Returns:
        `recovery`: mean best average precision per side, and per kind of concept with its number; `prevalence` and
        `chance` to hold it against; `same_latent`: count and share of the concepts for which the same latent is
        best on both sides (one that finds nothing beyond prevalence on a side does not count);
        `transfer`: mean average precision on one side of the latent that is best on the other.
    """
    kinds = np.array([concept.partition(":")[0] for concept in concepts])
    informed = (vision.best > vision.prevalence) & (text.best > text.prevalence)
    same = (vision.latent == text.latent) & informed
    column = np.arange(len(concepts))
    by_kind = {str(kind): _recovery(vision, text, same, kinds == kind) for kind in np.unique(kinds)}
    return {
        "recovery": _means(vision.best, text.best) | {"by_kind": by_kind},
        "prevalence": _means(vision.prevalence, text.prevalence),
        "chance": _means(vision.chance, text.chance),
        "same_latent": {"count": int(same.sum()), "share": float(same.mean())},
        "transfer": {
            "text_to_vision": float(vision.average_precision[text.latent, column].mean()),
            "vision_to_text": float(text.average_precision[vision.latent, column].mean()),
        },
    }


def _means(vision: Float[np.ndarray, "concept"], text: Float[np.ndarray, "concept"]) -> dict[str, Any]:
    return {"vision": float(vision.mean()), "text": float(text.mean())}


def _recovery(
    vision: BestLatents,
    text: BestLatents,
    same: Bool[np.ndarray, "concept"],
    chosen: Bool[np.ndarray, "concept"],
) -> dict[str, Any]:
    means = _means(vision.best[chosen], text.best[chosen])
    return means | {"same_latent": int(same[chosen].sum()), "concepts": int(chosen.sum())}
