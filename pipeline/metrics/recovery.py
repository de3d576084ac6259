"""Concept recovery: does one shared latent stand for one true concept, on both sides?

Only data sets whose samples state their true concepts (`noun:boat`, `colour:red`, ...) can be asked.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from pipeline.metrics.average_precision import average_precision

NEAR = 0.05
"""How far below the best average precision a latent still counts as one of the best."""


class BestLatents(NamedTuple):
    """Per concept the latent of one side that finds it best.

    Attributes:
        average_precision: Of every shared latent for every concept.
        latent: int64, the best one; the lowest of those that tie.
        best: Its average precision.
        prevalence: Share of the items with the concept: what a latent without information scores.
        shuffled: Average precision of every latent after the labels were shuffled over the items.
    """

    average_precision: Float[np.ndarray, "shared_latent concept"]
    latent: Int[np.ndarray, "concept"]
    best: Float[np.ndarray, "concept"]
    prevalence: Float[np.ndarray, "concept"]
    shuffled: Float[np.ndarray, "shared_latent concept"]

    @property
    def chance(self) -> Float[np.ndarray, "concept"]:
        """What choosing the best of so many latents gains by luck alone: the best after shuffling."""
        return np.asarray(self.shuffled.max(axis=0))


def best_latents(
    codes: Float[np.ndarray, "item shared_latent"],
    labels: Bool[np.ndarray, "item concept"],
    generator: np.random.Generator,
) -> BestLatents:
    """Score every shared latent of one side's items as a detector of every concept, and keep the best."""
    scores = average_precision(codes, labels)
    shuffled = average_precision(codes, generator.permutation(labels, axis=0))
    prevalence = labels.mean(axis=0)
    return BestLatents(scores, scores.argmax(axis=0), scores.max(axis=0), prevalence, shuffled)


def joint_recovery(
    vision: Float[np.ndarray, "shared_latent concept"], text: Float[np.ndarray, "shared_latent concept"]
) -> Float[np.ndarray, "concept"]:
    """The best average precision that one latent has on both sides: per concept `max over latents of min of sides`.

    Several latents of one concept do not lower it, as they do a count of concepts with the same best latent.
    """
    return np.asarray(np.minimum(vision, text).max(axis=0))


def near_best(
    vision: Float[np.ndarray, "shared_latent concept"],
    text: Float[np.ndarray, "shared_latent concept"],
    floors: tuple[Float[np.ndarray, "concept"], Float[np.ndarray, "concept"]],
) -> Bool[np.ndarray, "concept"]:
    """Per concept whether one latent lies within 0.05 average precision of the best on both sides.

    A latent that is not above the floor of a side does not count: where nothing fires all are equal.
    """
    sides = zip((vision, text), floors, strict=True)
    near = [(scores >= scores.max(axis=0) - NEAR) & (scores > floor) for scores, floor in sides]
    return np.asarray((near[0] & near[1]).any(axis=0))


def concept_recovery(concepts: Sequence[str], vision: BestLatents, text: BestLatents) -> dict[str, Any]:
    """Summary over concepts of the form "kind:value", as it stands in metrics.json.

    Returns:
        `joint`: mean of `joint_recovery`, with its `chance`, and per kind of concept;
        `near`: count and share of the concepts that `near_best` counts above prevalence, with the share that shuffled
        labels give (`chance`), which is large, since latents that find nothing are near each other; the count of those
        whose latent is better on both sides than any is with shuffled labels (`beyond_chance`), and it per kind;
        `recovery`: mean best average precision per side, and per kind of concept with its number; `prevalence` and
        `chance` to hold it against; `same_latent`: count and share of the concepts for which the same latent is
        best on both sides (one that finds nothing beyond prevalence on a side does not count);
        `transfer`: mean average precision on one side of the latent that is best on the other;
        `transfer_share`: the same over the recovery of that side, so 1 where the other side's choice is as good as
        its own, beside a latent taken blindly (`chance_...`).
    """
    kinds = np.array([concept.partition(":")[0] for concept in concepts])
    informed = (vision.best > vision.prevalence) & (text.best > text.prevalence)
    same = (vision.latent == text.latent) & informed
    by_kind = {str(kind): _recovery(vision, text, same, kinds == kind) for kind in np.unique(kinds)}
    return {
        "joint": _joint(kinds, vision, text),
        "near": _near(kinds, vision, text),
        "recovery": _means(vision.best, text.best) | {"by_kind": by_kind},
        "prevalence": _means(vision.prevalence, text.prevalence),
        "chance": _means(vision.chance, text.chance),
        "same_latent": {"count": int(same.sum()), "share": float(same.mean())},
    } | _transfer(vision, text)


def _joint(kinds: Shaped[np.ndarray, "concept"], vision: BestLatents, text: BestLatents) -> dict[str, Any]:
    joint = joint_recovery(vision.average_precision, text.average_precision)
    chance = joint_recovery(vision.shuffled, text.shuffled)
    by_kind = {str(kind): float(joint[kinds == kind].mean()) for kind in np.unique(kinds)}
    return {"mean": float(joint.mean()), "chance": float(chance.mean()), "by_kind": by_kind}


def _near(kinds: Shaped[np.ndarray, "concept"], vision: BestLatents, text: BestLatents) -> dict[str, Any]:
    sides = vision.average_precision, text.average_precision
    prevalence = vision.prevalence, text.prevalence
    near = near_best(*sides, prevalence)
    chance = near_best(vision.shuffled, text.shuffled, prevalence)
    beyond = near_best(*sides, (vision.chance, text.chance))
    return {
        "count": int(near.sum()),
        "share": float(near.mean()),
        "chance": float(chance.mean()),
        "beyond_chance": int(beyond.sum()),
        "by_kind": {str(kind): int(beyond[kinds == kind].sum()) for kind in np.unique(kinds)},
    }


def _transfer(vision: BestLatents, text: BestLatents) -> dict[str, Any]:
    column = np.arange(len(vision.best))
    transfer, share, chance = {}, {}, {}
    for direction, own, other in (("text_to_vision", vision, text), ("vision_to_text", text, vision)):
        recovery = own.best.mean()
        transfer[direction] = float(own.average_precision[other.latent, column].mean())
        share[direction] = float(transfer[direction] / recovery)
        chance[f"chance_{direction}"] = float(own.average_precision.mean() / recovery)
    return {"transfer": transfer, "transfer_share": share | chance}


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
