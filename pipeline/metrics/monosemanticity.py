"""Monosemanticity: are the items that fire a latent alike, in the eyes of a judge?"""

from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Float64, Int

from cache import ActivationCache
from pipeline.metrics.alignment import unit_length
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.items import Items
from pipeline.metrics.judge import Judge
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.metrics.truth import label_matrix
from pipeline.sae.sides import SIDES, Side


class TrueConcepts:
    """A judge that knows the truth: an item's embedding has a 1 for each concept that the item has.

    Attributes:
        concepts: The concepts, sorted; none if samples do not state any.
    """

    def __init__(self, cache: ActivationCache) -> None:
        table = cache.read_pair_samples(["image_concepts", "caption_concepts"])
        held = {"vision": _lists(table["image_concepts"]), "text": _lists(table["caption_concepts"])}
        self.concepts = sorted(set(chain(*held["vision"], *held["text"])))
        self._labels = {side: label_matrix(held[side], self.concepts) for side in SIDES}

    def embed(self, side: Side, pairs: Int[np.ndarray, "pair"]) -> Float[np.ndarray, "pair embedding"]:
        """One side of some pairs of the cache; zeros where samples state no concept."""
        return np.asarray(self._labels[side][pairs], dtype=np.float32)


class WeightedSums:
    """What the monosemanticity of a side's latents takes, added up over items; memory is [latent, embedding].

    An item's weight for a latent is its code, or 0 if that is negative. Pach et al. (arXiv 2504.02821) bring the codes
    to [0, 1] first: the smallest code of a latent that some item does not fire is 0 already, and no score depends on a
    common factor.

    Args:
        latents: Number of latents.
        embedding: Width of the judge's embeddings.

    Attributes:
        items: Number of items.
        fired: int64 [latent], items with a weight above 0.
        weights: float64 [latent], sum of the weights.
        squares: float64 [latent], sum of their squares.
        embeddings: float64 [latent, embedding], sum of the items' embeddings, of unit length, times their weights.
    """

    def __init__(self, latents: int, embedding: int) -> None:
        self.items = 0
        self.fired = np.zeros(latents, dtype=np.int64)
        self.weights, self.squares = np.zeros(latents), np.zeros(latents)
        self.embeddings = np.zeros((latents, embedding))

    def update(
        self, codes: Float[np.ndarray, "item latent"], embeddings: Float[np.ndarray, "item embedding"]
    ) -> None:
        """Add items; one whose embedding is zero or not finite, of which the judge says nothing, is left out."""
        known = embeddings.any(axis=1) & np.isfinite(embeddings).all(axis=1)
        weights, units = (
            codes[known].clip(0).astype(np.float64),
            unit_length(embeddings[known].astype(np.float64)),
        )
        self.items += len(weights)
        self.fired += (weights > 0).sum(axis=0)
        self.weights += weights.sum(axis=0)
        self.squares += (weights**2).sum(axis=0)
        self.embeddings += weights.T @ units

    @property
    def sometimes(self) -> Bool[np.ndarray, "latent"]:
        """Which latents fire on some item and not on all."""
        return (self.fired > 0) & (self.fired < self.items)


def monosemanticity(sums: WeightedSums) -> Float64[np.ndarray, "latent"]:
    """Compute the mean cosine of two different items of a side, weighted by the product of their weights.

    `(|sum a e|^2 - sum a^2) / ((sum a)^2 - sum a^2)`, in time linear in the items (MonoLoss, arXiv 2602.12403). NaN for
    a latent that fewer than two items fire.
    """
    together = (sums.embeddings**2).sum(axis=1) - sums.squares
    return _divided(together, sums.weights**2 - sums.squares, sums.fired > 1)


def joint_monosemanticity(vision: WeightedSums, text: WeightedSums) -> Float64[np.ndarray, "latent"]:
    """Compute the mean cosine of an item of vision and one of text, weighted likewise (MMS, arXiv 2601.20028).

    `<sum a e, sum b f> / (sum a sum b)`; NaN for a latent that a side never fires.
    """
    fired = (vision.fired > 0) & (text.fired > 0)
    return _divided((vision.embeddings * text.embeddings).sum(axis=1), vision.weights * text.weights, fired)


class MonosemanticityMeter(Meter):
    """The `monosemanticity` part of metrics.json: MS of either side's items and MMS of both, means over latents.

    Left out of the means, and counted, are latents that never fire and those that always do.

    Args:
        items: The items of the evaluated pairs; each counts once.
        latents: Number of shared latents.
        truth: Judges where samples state their concepts.
        judge: Judges where they do not.
        pooling: How token codes become an item's.
    """

    def __init__(
        self, items: Items, latents: int, truth: TrueConcepts, judge: Judge, pooling: Pooling
    ) -> None:
        self._latents, self._pooling = latents, pooling
        self._concepts = len(truth.concepts)
        self._judge: Judge = truth if truth.concepts else judge
        self._first = {side: torch.from_numpy(items.first(side)) for side in SIDES}
        self._sums: dict[Side, WeightedSums] = {}

    def update(self, encoded: EncodedBatch) -> None:
        """Add the items of a batch that were not seen before."""
        pair = encoded.batch.pair.cpu()
        for side in SIDES:
            new = self._first[side][pair]
            embeddings = self._judge.embed(side, pair[new].numpy())
            sums = self._sums.setdefault(side, WeightedSums(self._latents + 1, embeddings.shape[1]))
            codes = encoded.pooled(side, self._pooling).cpu()[new]
            evenly = torch.ones(len(codes), 1)
            sums.update(torch.cat([codes, evenly], dim=1).numpy(), embeddings)

    def result(self) -> dict[str, Any] | NotDefined:
        """Means over latents, what a latent that fires for all items alike would have, and how many are left out.

        Returns:
            `vision`, `text` and `both`; `even`, the same of even weights; `concepts`, the number of true concepts that
            judge, 0 if embeddings do; `latents`, the number in each mean; `never` and `always`, left out, by side.
        """
        if not self._sums:
            return NotDefined("the split has no pairs")
        vision, text = (self._sums[side] for side in SIDES)
        scores = {
            "vision": (monosemanticity(vision), vision.sometimes),
            "text": (monosemanticity(text), text.sometimes),
            "both": (joint_monosemanticity(vision, text), vision.sometimes & text.sometimes),
        }
        chosen = {
            name: score[:-1][some[:-1] & ~np.isnan(score[:-1])] for name, (score, some) in scores.items()
        }
        means = {name: float(score.mean()) if len(score) else _NO_LATENT for name, score in chosen.items()}
        even = {name: _or_not_defined(float(score[-1])) for name, (score, _) in scores.items()}
        counts = {
            "latents": {name: len(score) for name, score in chosen.items()},
            "never": {side: int((sums.fired == 0).sum()) for side, sums in self._sums.items()},
            "always": {side: int((sums.fired[:-1] == sums.items).sum()) for side, sums in self._sums.items()},
        }
        return means | {"even": even, "concepts": self._concepts} | counts


_NO_LATENT = NotDefined("no shared latent fires on some of the items and not on all")


def _or_not_defined(score: float) -> float | NotDefined:
    return NotDefined("it takes two items") if np.isnan(score) else score


def _divided(
    sums: Float64[np.ndarray, "latent"],
    weights: Float64[np.ndarray, "latent"],
    defined: Bool[np.ndarray, "latent"],
) -> Float64[np.ndarray, "latent"]:
    return np.asarray(np.divide(sums, weights, out=np.full_like(sums, np.nan), where=defined & (weights > 0)))


def _lists(column: pa.ChunkedArray) -> list[list[str]]:
    return [held or [] for held in column.to_pylist()]
