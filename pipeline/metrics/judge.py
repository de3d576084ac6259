"""Who says how alike images and captions are: embeddings that do not come from the dictionary under judgement."""

from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.sae.sides import Side


class Judge(Protocol):
    """Embeds both sides of pairs into one space, in which a cosine compares them."""

    def embed(self, side: Side, pairs: Int[np.ndarray, "pair"]) -> Float[np.ndarray, "pair embedding"]:
        """One side of some pairs of the evaluated cache."""


class CachedJudge:
    """The pooled embeddings of a cache: the evaluated one, or one of the same pairs from another backbone.

    Pairs are joined by the ids of their image and caption, never by position: the two caches may differ in order,
    in shards, and in what was skipped.

    Args:
        judge: The cache with the embeddings.
        evaluated: The cache whose pairs are asked for.
        batch_pairs: Pairs read at once, which bounds memory.

    Raises:
        RunError: a pair of `evaluated` is not in `judge`.
    """

    def __init__(self, judge: ActivationCache, evaluated: ActivationCache, batch_pairs: int) -> None:
        self._judge, self._batch_pairs = judge, batch_pairs
        self._rows = np.arange(evaluated.pairs) if judge is evaluated else _joined(judge, evaluated)

    def embed(self, side: Side, pairs: Int[np.ndarray, "pair"]) -> Float[np.ndarray, "pair embedding"]:
        """One side of some pairs, float32, in the given order. Raises as `ActivationCache.read_pairs`."""
        batches = self._judge.iterate(self._batch_pairs, self._rows[pairs])
        pooled = (batch.vision_pooled if side == "vision" else batch.text_pooled for batch in batches)
        return np.concatenate([part.numpy() for part in pooled])


def _joined(judge: ActivationCache, evaluated: ActivationCache) -> Int[np.ndarray, "pair"]:
    there = {ids: row for row, ids in enumerate(_pair_ids(judge))}
    asked = _pair_ids(evaluated)
    missing = [ids for ids in asked if ids not in there]
    if missing:
        image, caption = missing[0]
        raise RunError(
            f"evaluate.judge: {judge} lacks {len(missing)} of the {len(asked)} pairs of {evaluated}, first image "
            f"{image} with caption {caption}; encode the same split with the judge's backbone"
        )
    return np.array([there[ids] for ids in asked])


def _pair_ids(cache: ActivationCache) -> list[tuple[int, int]]:
    """(image id, caption id) of every pair, in order."""
    table = cache.read_pair_samples(["image_id", "caption_id"])
    return list(zip(table["image_id"].to_pylist(), table["caption_id"].to_pylist(), strict=True))
