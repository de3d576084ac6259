"""Does a shared latent work on both sides, or does one side have nearly all of its energy?"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.items import Items
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.sae.sides import SIDES

BIMODAL = (0.05, 0.95)
"""Modality scores of latents that both sides use (arXiv 2602.06218)."""


class ModalityMeter(Meter):
    """The `modality` part of metrics.json: of the shared latents that fire, how many do so on both sides alike.

    Args:
        items: The items of the evaluated pairs; each counts once.
        latents: Number of shared latents.
        pooling: How token codes become an item's.
    """

    def __init__(self, items: Items, latents: int, pooling: Pooling) -> None:
        self._pooling = pooling
        self._first = {side: torch.from_numpy(items.first(side)) for side in SIDES}
        self._squares = {side: np.zeros(latents) for side in SIDES}

    def update(self, encoded: EncodedBatch) -> None:
        """Add the items of a batch that were not seen before."""
        for side in SIDES:
            new = self._first[side][encoded.batch.pair.cpu()]
            codes = encoded.pooled(side, self._pooling).cpu()[new]
            self._squares[side] += codes.double().square().sum(dim=0).numpy()

    def result(self) -> dict[str, Any] | NotDefined:
        """`bimodal`, `vision` and `text`: shares of the latents that fire, by which side has their energy; `spread`.

        `spread` is the deviation of the modality score from one half, weighted by energy: 0 if all latents have equal
        energy on both sides, .5 if each has one side.
        """
        energies = [self._squares[side] / max(1, int(first.sum())) for side, first in self._first.items()]
        total = energies[0] + energies[1]
        fires = total > 0
        if not fires.any():
            return NotDefined("no shared latent fires on any item of the split")
        score = modality_score(energies[0][fires], energies[1][fires])
        low, high = BIMODAL
        deviation = np.average((score - 0.5) ** 2, weights=total[fires]) ** 0.5
        return {
            "bimodal": float(((score >= low) & (score <= high)).mean()),
            "vision": float((score > high).mean()),
            "text": float((score < low).mean()),
            "spread": float(deviation),
        }


def modality_score(
    vision: Float[np.ndarray, "latent"], text: Float[np.ndarray, "latent"]
) -> Float[np.ndarray, "latent"]:
    """Give the share of each latent's energy that is vision's; energies are mean squared codes, one of them above 0."""
    return np.asarray(vision / (vision + text))
