"""Where the right answer of a retrieval stands, with ties against it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

RECALLED = (1, 5, 10)
"""How many of the best candidates are looked at."""

_ROUNDING = 1e-9
"""Scores are float64 of at most 1; those that are no further apart than this are equal."""


class Ranks(NamedTuple):
    """Where the best right answer of each query stands.

    Attributes:
        rank: int64, 1 is best: no wrong candidate scores as high as the best right one.
        tied: int64, wrong candidates that score exactly as the best right one.
    """

    rank: Int[np.ndarray, "query"]
    tied: Int[np.ndarray, "query"]


def pessimistic_ranks(
    scores: Float[np.ndarray, "query candidate"], right: Bool[np.ndarray, "query candidate"]
) -> Ranks:
    """Rank the best right answer of every query below every wrong candidate that scores as high.

    Sparse codes tie by the thousand, above all codes of zeros; a rank that the tied share, or that follows the order of
    the candidates, would be luck (arXiv 2606.29888).

    Args:
        scores: float64, at most 1; higher is better.
        right: which candidates answer a query; at least one of each does.
    """
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    not_below = ~right & ~(scores < best - _ROUNDING)  # NaN, too, counts against the answer
    above = ~right & (scores > best + _ROUNDING)
    return Ranks(1 + not_below.sum(axis=1), (not_below & ~above).sum(axis=1))


def recalls(ranks: Ranks) -> Mapping[str, float]:
    """Give the share of queries answered among the first 1, 5 and 10, and the mean number of `tied`; of one or more."""
    found = {f"recall_at_{most}": float((ranks.rank <= most).mean()) for most in RECALLED}
    return found | {"tied": float(ranks.tied.mean())}
