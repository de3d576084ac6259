"""Logistic regression of many concepts at once: what a supervised linear probe finds in given features."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.special import expit, logit

_STEPS = 200


class LogisticProbe(NamedTuple):
    """One linear classifier per concept.

    Attributes:
        weights: float64, of the features as they are given.
        bias: float64.
    """

    weights: Float[np.ndarray, "feature concept"]
    bias: Float[np.ndarray, "concept"]

    def logits(self, features: Float[np.ndarray, "item feature"]) -> Float[np.ndarray, "item concept"]:
        """Score items: above 0 where a concept is more likely there than not."""
        return np.asarray(features @ self.weights + self.bias)


def fit_probe(
    features: Float[np.ndarray, "item feature"],
    labels: Bool[np.ndarray, "item concept"],
    penalty: float = 1.0,
) -> LogisticProbe:
    """Fit one logistic regression per concept, by L-BFGS in float64.

    Features are standardised first, so that the penalty treats them alike; one that does not vary has no weight. The
    bias is not penalised. The loss of a concept is the sum of its items' cross-entropies and `penalty` / 2 times the
    squared length of its weights.

    Args:
        features: Finite.
        labels: Which item has which concept.
        penalty: Above 0, so that a concept that the features separate has finite weights.
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    standard = (features - mean) * scale
    share = labels.mean(axis=0).clip(0.5 / len(labels), 1 - 0.5 / len(labels))
    start = np.concatenate([np.zeros((features.shape[1], labels.shape[1])), [logit(share)]])
    found = minimize(
        _loss,
        start.ravel(),
        (standard, labels.astype(np.float64), penalty),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": _STEPS, "gtol": 1e-8},
    ).x.reshape(start.shape)
    weights = found[:-1] * scale[:, None]
    return LogisticProbe(weights, found[-1] - mean @ weights)


def _loss(
    flat: Float[np.ndarray, "parameter"],
    features: Float[np.ndarray, "item feature"],
    labels: Float[np.ndarray, "item concept"],
    penalty: float,
) -> tuple[float, Float[np.ndarray, "parameter"]]:
    """Compute the losses of all concepts, added up and per item, and the gradient."""
    parameters = flat.reshape(-1, labels.shape[1])
    weights, items = parameters[:-1], len(labels)
    logits = features @ weights + parameters[-1]
    loss = (np.logaddexp(0, logits) - labels * logits).sum() + penalty / 2 * np.square(weights).sum()
    errors = expit(logits) - labels
    gradient = np.concatenate([features.T @ errors + penalty * weights, [errors.sum(axis=0)]])
    return float(loss / items), (gradient / items).ravel()
