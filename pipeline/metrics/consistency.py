"""Are the concepts of an image those of its caption, more than those of another's?"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from pipeline.metrics.alignment import unit_length
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.items import Items
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.sae.sides import SIDES


class ConsistencyMeter(Meter):
    """The `consistency` part of metrics.json: cos(h_v, h_t) of shared codes on matched and on mismatched pairs.

    Likewise the Jaccard index of the latents that are active, of codes that each side was encoded to alone (SPARC,
    arXiv 2507.06265, encodes both sides together, which makes them agree by construction).

    It asks of the codes alone what VL-SAE (arXiv 2510.21323) relies on where it compares the concepts of an image with
    those of a text. Mismatched are all combinations of an image and a caption of the drawn pairs, except those that
    are a pair after all: of one image, or of one wording.

    Args:
        items: The items of the evaluated pairs.
        latents: Number of shared latents.
        pairs: Pairs to draw; their dense pooled codes are kept until the end, each to be held against every other.
        seed: Draws them.
        pooling: How token codes become an item's.
    """

    def __init__(self, items: Items, latents: int, pairs: int, seed: int, pooling: Pooling) -> None:
        self._pooling = pooling
        available = len(items.of_side["vision"])
        generator = np.random.default_rng(seed)
        drawn = np.sort(generator.choice(available, min(pairs, available), replace=False))
        self._numbers = {side: items.of_side[side][drawn] for side in SIDES}
        self._place = torch.full((available,), -1)
        self._place[drawn] = torch.arange(len(drawn))
        self._codes = {side: np.zeros((len(drawn), latents), dtype=np.float32) for side in SIDES}

    def update(self, encoded: EncodedBatch) -> None:
        """Keep the codes of the drawn pairs of a batch."""
        place = self._place[encoded.batch.pair.cpu()]
        drawn = place >= 0
        for side in SIDES:
            pooled = encoded.pooled(side, self._pooling).cpu()
            self._codes[side][place[drawn].numpy()] = pooled[drawn].numpy()

    def result(self) -> dict[str, Any] | NotDefined:
        """Mean cosines `matched` and `mismatched`, and `auc`: how often a matched pair has the higher one; `jaccard`.

        `pairs` is the number drawn. Not defined where no two of them are of different images and wordings, or where
        nothing fires on a side: codes of zeros have no cosine.
        """
        for side in SIDES:
            if len(self._codes[side]) and not self._codes[side].any():
                return NotDefined(f"no shared latent fires on the {side} side of the drawn pairs")
        cosine = unit_length(self._codes["vision"]) @ unit_length(self._codes["text"]).T
        other = [self._numbers[side][:, None] != self._numbers[side] for side in SIDES]
        matched, mismatched = cosine.diagonal(), cosine[np.logical_and(*other)]
        if not mismatched.size:
            return NotDefined("no two of the drawn pairs have different images and different captions")
        return {
            "auc": area_under_curve(matched, mismatched),
            "matched": float(matched.mean(dtype=np.float64)),
            "mismatched": float(mismatched.mean(dtype=np.float64)),
            "jaccard": self._jaccard(np.logical_and(*other)),
            "pairs": len(matched),
        }

    def _jaccard(self, mismatched: Bool[np.ndarray, "image caption"]) -> dict[str, float]:
        active = (self._codes[side] > 0 for side in SIDES)
        index = jaccard(*active)
        return {"matched": float(index.diagonal().mean()), "mismatched": float(index[mismatched].mean())}


def jaccard(
    some: Bool[np.ndarray, "image latent"], others: Bool[np.ndarray, "caption latent"]
) -> Float[np.ndarray, "image caption"]:
    """Compute |A and B| / |A or B| of every two rows as sets, float64; 0 of two empty ones."""
    common = some.astype(np.float64) @ others.T.astype(np.float64)
    united = some.sum(axis=1)[:, None] + others.sum(axis=1) - common
    return np.asarray(common / np.maximum(united, 1))


def area_under_curve(
    positive: Float[np.ndarray, "positive"], negative: Float[np.ndarray, "negative"]
) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, a tie counting half."""
    ranked = np.sort(negative)
    below, not_above = (np.searchsorted(ranked, positive, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(negative)))
