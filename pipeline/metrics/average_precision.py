"""Average precision of every latent for every concept, with one sort per latent."""

import numpy as np
from jaxtyping import Bool, Float


def average_precision(
    scores: Float[np.ndarray, "item latent"], labels: Bool[np.ndarray, "item concept"]
) -> Float[np.ndarray, "latent concept"]:
    """Area under the precision-recall steps: `sum_n (recall_n - recall_(n-1)) precision_n`.

    Items with equal scores enter together, as one threshold, so the result does not depend on the order of
    the items, and a latent that never fires scores exactly the prevalence of the concept.

    Args:
        scores: Score of each item per latent; higher means more of the concept.
        labels: Whether the item shows the concept.

    Returns:
        float64 in [0, 1]; NaN for a concept without a positive item.
    """
    positives = labels.sum(axis=0, dtype=np.int64).astype(np.float64)
    members = labels.astype(np.int32)
    result = np.empty((scores.shape[1], labels.shape[1]), dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        for latent in range(scores.shape[1]):
            result[latent] = _steps(scores[:, latent], members) / positives
    return result


def _steps(score: Float[np.ndarray, "item"], members: np.ndarray) -> Float[np.ndarray, "concept"]:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    threshold = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found = np.cumsum(members[order], axis=0, dtype=np.int32)[threshold]
    gained = np.diff(found, axis=0, prepend=0)
    precision = found / (threshold + 1.0)[:, None]
    return np.asarray((gained * precision).sum(axis=0, dtype=np.float64))
