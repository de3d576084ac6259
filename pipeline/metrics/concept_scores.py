"""All figures about single latents and true concepts, from one code per item."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pipeline.metrics.absorption import absorption_figures
from pipeline.metrics.detection import f1_figures, splitting_figures
from pipeline.metrics.recovery import BestLatents, best_latents, concept_recovery
from pipeline.metrics.truth import AskedConcepts
from pipeline.sae.sides import Side


class ConceptScores(NamedTuple):
    """What latents know of the concepts.

    Attributes:
        figures: As they stand in metrics.json under `concepts`, with the numbers of concepts.
        best: The best latents of each side.
    """

    figures: dict[str, Any]
    best: Mapping[Side, BestLatents]


def score_concepts(
    asked: AskedConcepts, codes: Mapping[Side, Float[np.ndarray, "item shared_latent"]], seed: int
) -> ConceptScores:
    """Score the codes of the items that state their concepts.

    Args:
        asked: At least one concept, and which items have it.
        codes: A latent fires where its code is above 0; items in the order of the labels.
        seed: Shuffles the labels for the chance levels.
    """
    generator = np.random.default_rng(seed)
    labels: dict[Side, np.ndarray] = {"vision": asked.vision, "text": asked.text}
    vision = best_latents(codes["vision"], asked.vision, generator)
    text = best_latents(codes["text"], asked.text, generator)
    best: dict[Side, BestLatents] = {"vision": vision, "text": text}
    figures = {
        **asked.numbers,
        **concept_recovery(asked.names, vision, text),
        "f1": f1_figures(codes, labels, generator),
        "splitting": splitting_figures(vision, text),
        "absorption": absorption_figures(codes, labels, best),
    }
    return ConceptScores(figures, best)
