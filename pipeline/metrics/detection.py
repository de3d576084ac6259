"""Single latents as detectors of true concepts: F1 where they fire, and how many latents and concepts go together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.recovery import BestLatents, joint_recovery
from pipeline.sae.sides import SIDES, Side

Labels = Bool[np.ndarray, "item concept"]
Codes = Float[np.ndarray, "item shared_latent"]

_NONE_STANDS = NotDefined("no latent stands for an asked concept")


def f1_scores(codes: Codes, labels: Labels) -> Float[np.ndarray, "shared_latent concept"]:
    """F1 of every latent for every concept, where a latent says "yes" by firing at all (code above 0).

    `2 both / (items that fire + items that have it)`; every concept has an item.
    """
    fires = (codes > 0).astype(np.float64)
    both = fires.T @ labels
    return np.asarray(2 * both / (fires.sum(axis=0)[:, None] + labels.sum(axis=0)))


def f1_figures(
    codes: Mapping[Side, Codes], labels: Mapping[Side, Labels], generator: np.random.Generator
) -> dict[str, Any]:
    """Mean over concepts of the best latent's F1: per side, and `joint`, of one latent by the worse of its sides.

    Returns:
        With `chance`, the same after the labels of either side were shuffled over its items.
    """
    shuffled = {side: generator.permutation(labels[side], axis=0) for side in SIDES}
    return _best_f1(codes, labels) | {"chance": _best_f1(codes, shuffled)}


def stands_for(best: BestLatents) -> Bool[np.ndarray, "shared_latent concept"]:
    """Whether each latent's average precision is more than half way from the concept's prevalence to 1.

    For a rare concept that is an average precision above .5. One that most items have is not given to every latent.
    """
    return np.asarray(best.average_precision > (1 + best.prevalence) / 2)


def splitting_figures(vision: BestLatents, text: BestLatents) -> dict[str, Any]:
    """How latents and concepts go together: per side, and for latents that stand for a concept on `both` sides.

    Returns:
        `latents` that stand for some concept (`stands_for`) and `concepts` that some latent stands for;
        `latents_per_concept` and `concepts_per_latent`, means over these; `uniqueness`, different concepts per latent,
        where each stands for the one that it tells apart best (SynthSAEBench, arXiv 2602.14687, over these latents:
        there are more latents than concepts here).
    """
    lift = {
        side: (best.average_precision - best.prevalence) / (1 - best.prevalence)
        for side, best in zip(SIDES, (vision, text), strict=True)
    }
    stands = {"vision": stands_for(vision), "text": stands_for(text)}
    both = np.minimum(lift["vision"], lift["text"])
    return {
        **{side: _splitting(stands[side], lift[side]) for side in SIDES},
        "both": _splitting(stands["vision"] & stands["text"], both),
    }


def _best_f1(codes: Mapping[Side, Codes], labels: Mapping[Side, Labels]) -> dict[str, Any]:
    scores = {side: f1_scores(codes[side], labels[side]) for side in SIDES}
    best: dict[str, Any] = {side: float(of_side.max(axis=0).mean()) for side, of_side in scores.items()}
    return best | {"joint": float(joint_recovery(scores["vision"], scores["text"]).mean())}


def _splitting(
    stands: Bool[np.ndarray, "shared_latent concept"], lift: Float[np.ndarray, "shared_latent concept"]
) -> dict[str, Any]:
    latents, concepts = stands.any(axis=1), stands.any(axis=0)
    numbers = {"latents": int(latents.sum()), "concepts": int(concepts.sum())}
    if not latents.any():
        means = ("latents_per_concept", "concepts_per_latent", "uniqueness")
        return numbers | dict.fromkeys(means, _NONE_STANDS)
    first = np.where(stands, lift, -np.inf)[latents].argmax(axis=1)
    return numbers | {
        "latents_per_concept": float(stands.sum(axis=0)[concepts].mean()),
        "concepts_per_latent": float(stands.sum(axis=1)[latents].mean()),
        "uniqueness": len(np.unique(first)) / int(latents.sum()),
    }
