"""Retrieval by codes: is a picture's shared code nearest to that of its own caption, and the reverse?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.metrics.alignment import unit_length
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.items import Items
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.metrics.ranking import Ranks, pessimistic_ranks, recalls
from pipeline.sae.sides import SIDES, Side

DIRECTIONS: Mapping[str, tuple[Side, Side]] = {
    "text_to_image": ("text", "vision"),
    "image_to_text": ("vision", "text"),
}
"""By direction which side asks, and which side answers."""

_SCORES_AT_ONCE = 2**24
"""Scores held at a time, 128 MB of float64."""

_NO_MEANS = NotDefined(
    "the cache that the dictionary was trained on, whose mean codes it takes, is not at hand"
)
_NO_PAIRS = NotDefined("the split has no pairs")


class RetrievalMeter(Meter):
    """The `retrieval` part of metrics.json: recall at 1, 5 and 10 among all items of the split, both ways.

    An image is asked for by a caption and the reverse, by the cosine of their pooled shared codes; each image and each
    wording of a caption is one candidate, and all wordings of an image answer it. `codes` takes codes as they are,
    `centred` less their mean over training pairs, `backbone` the pooled embeddings of the frozen model, the ceiling.

    Kept until the end: a pooled code and a pooled embedding per item, float32.

    Args:
        items: The items of the evaluated pairs.
        pooling: How token codes become an item's.
        means: A side's mean code [shared_latent], of pairs that are not evaluated; None if there are none.
    """

    def __init__(
        self,
        items: Items,
        pooling: Pooling,
        means: Mapping[Side, Float[np.ndarray, "shared_latent"]] | None = None,
    ) -> None:
        self._items, self._pooling, self._means = items, pooling, means
        self._first = {side: torch.from_numpy(items.first(side)) for side in SIDES}
        self._codes: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
        self._embeddings: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}

    def update(self, encoded: EncodedBatch) -> None:
        """Keep the items of a batch that were not seen before."""
        embeddings = {"vision": encoded.batch.vision_pooled, "text": encoded.batch.text_pooled}
        for side in SIDES:
            new = self._first[side][encoded.batch.pair.cpu()]
            self._codes[side].append(_rows(encoded.pooled(side, self._pooling), new))
            self._embeddings[side].append(_rows(embeddings[side], new))

    def result(self) -> dict[str, Any] | NotDefined:
        """By what is compared and by direction `recall_at_1`, `recall_at_5`, `recall_at_10` and `tied`.

        `tied` is the mean number of wrong candidates that score exactly as the right one; they count as above it.
        """
        if not self._codes["vision"]:
            return _NO_PAIRS
        codes, embeddings = (
            {side: np.concatenate(parts[side]) for side in SIDES} for parts in (self._codes, self._embeddings)
        )
        return {
            "codes": self._recalls(codes),
            "centred": self._centred_recalls(codes),
            "backbone": self._recalls(embeddings),
        }

    def _centred_recalls(
        self, codes: Mapping[Side, Float[np.ndarray, "item latent"]]
    ) -> dict[str, Any] | NotDefined:
        if self._means is None:
            return _NO_MEANS
        return self._recalls({side: codes[side] - self._means[side] for side in SIDES})

    def _recalls(self, vectors: Mapping[Side, Float[np.ndarray, "item channel"]]) -> dict[str, Any]:
        return {name: recalls(ranks_of(vectors, self._items, *sides)) for name, sides in DIRECTIONS.items()}


def ranks_of(
    vectors: Mapping[Side, Float[np.ndarray, "item channel"]], items: Items, asking: Side, answering: Side
) -> Ranks:
    """Rank the right answer of every item of one side among all items of the other, by cosine.

    Args:
        vectors: Of each side's items, in the order of their first pairs.
        items: Which item each pair shows and says.
        asking: The side whose items ask.
        answering: The other.
    """
    asks, answers = (unit_length(vectors[side].astype(np.float64)) for side in (asking, answering))
    places = {side: _places(items.of_side[side]) for side in SIDES}
    step = max(1, _SCORES_AT_ONCE // len(answers))
    parts = []
    for start in range(0, len(asks), step):
        scores = asks[start : start + step] @ answers.T
        right = np.zeros(scores.shape, dtype=bool)
        here = (places[asking] >= start) & (places[asking] < start + step)
        right[places[asking][here] - start, places[answering][here]] = True
        parts.append(pessimistic_ranks(scores, right))
    return Ranks(*map(np.concatenate, zip(*parts, strict=True)))


def _places(items: Int[np.ndarray, "pair"]) -> Int[np.ndarray, "pair"]:
    """Number items in the order of their first pairs."""
    _, first, inverse = np.unique(items, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[inverse])


def _rows(part: Tensor, chosen: Bool[Tensor, "pair"]) -> Float[np.ndarray, "item channel"]:
    return part.float().cpu()[chosen].numpy()
