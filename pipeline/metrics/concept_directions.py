"""Do the decoder's directions point where the true concepts lie?"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.optimize import linear_sum_assignment

from pipeline.metrics.alignment import unit_length
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.meter import Meter
from pipeline.metrics.truth import AskedConcepts, Truth
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side


def mean_matched_cosine(
    directions: Float[np.ndarray, "latent channel"], concepts: Float[np.ndarray, "concept channel"]
) -> float:
    """Compute the mean cosine of concepts with latents, each concept with a latent of its own, at its largest.

    The mean correlation coefficient (MCC) of SynthSAEBench (arXiv 2602.14687), where one Hungarian assignment matches
    learned with true directions; the sign counts, as codes are not negative. A direction of length 0 has cosine 0, as
    has a concept that no latent is left for.
    """
    cosines = unit_length(concepts.astype(np.float64)) @ unit_length(directions.astype(np.float64)).T
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return float(cosines[rows, columns].sum() / len(concepts))


class MeanDifferences:
    """Differences of means of one side, added up in memory of [concept, channel].

    Args:
        labels: Which of the side's items has which concept; every one has and lacks some.
        generator: Shuffles them over the items, for as many concepts that mean nothing.
    """

    def __init__(self, labels: Bool[np.ndarray, "item concept"], generator: np.random.Generator) -> None:
        self._labels = np.concatenate([labels, generator.permutation(labels, axis=0)], axis=1)
        self._total: Float64[np.ndarray, "channel"] | float = 0.0
        self._held: Float64[np.ndarray, "label channel"] | float = 0.0

    def update(self, rows: list[int], activations: Float[np.ndarray, "item channel"]) -> None:
        """Add the items that these rows of the labels are of."""
        wide = activations.astype(np.float64)
        self._total += wide.sum(axis=0)
        self._held += self._labels[rows].T.astype(np.float64) @ wide

    def differences(self) -> Float64[np.ndarray, "label channel"]:
        """Mean activation of the items that have a concept less that of those that lack it, then of shuffled ones."""
        held = self._labels.sum(axis=0)[:, None]
        return np.asarray(self._held / held - (self._total - self._held) / (len(self._labels) - held))


class ConceptDirectionMeter(Meter):
    """The part `concept_directions` of metrics.json: cosine of decoder directions with the true concepts', by side.

    A real encoder's true directions are not known. A concept's is taken to be the difference of means: the mean
    activation of the images (captions) that have it less that of those that lack it, where the activation of an item is
    the mean of its tokens.

    Args:
        truth: What is true of images and captions.
        asked: The concepts, at least one, and which of them have them.
        sae: The dictionary.
        seed: Shuffles the labels for the chance level.
    """

    def __init__(self, truth: Truth, asked: AskedConcepts, sae: SparseAutoencoder, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._sae, self._concepts = sae, len(asked.names)
        self._rows: dict[Side, dict[int, int]] = {
            "vision": {pair: row for row, pair in enumerate(truth.images)},
            "text": {pair: row for row, pair in enumerate(truth.captions)},
        }
        self._sides: dict[Side, MeanDifferences] = {
            "vision": MeanDifferences(asked.vision, generator),
            "text": MeanDifferences(asked.text, generator),
        }

    def update(self, encoded: EncodedBatch) -> None:
        """Add the items of a batch that state their concepts."""
        pairs = encoded.batch.pair.tolist()
        for side in SIDES:
            places = [place for place, pair in enumerate(pairs) if pair in self._rows[side]]
            rows = [self._rows[side][pairs[place]] for place in places]
            activations, offsets = encoded.activations(side), encoded.offsets(side)
            means = torch.segment_reduce(activations, "mean", offsets=offsets, axis=0)[places]
            self._sides[side].update(rows, means.cpu().numpy())

    def result(self) -> dict[str, Any]:
        """`vision` and `text`, and `chance` with labels shuffled over the items."""
        found: dict[str, Any] = {}
        chance: dict[str, float] = {}
        for side in SIDES:
            directions = self._sae.directions(side)[: self._sae.shared_width].cpu().numpy()
            differences = self._sides[side].differences()
            found[side] = mean_matched_cosine(directions, differences[: self._concepts])
            chance[side] = mean_matched_cosine(directions, differences[self._concepts :])
        return found | {"chance": chance}
