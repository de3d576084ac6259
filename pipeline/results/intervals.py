"""A mean, or a share, with its 95 % confidence interval."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_COVERED = 0.95
_NORMAL_QUANTILE = 1.959964
"""What a normal variable stays below, in size, with that probability."""


class Interval(NamedTuple):
    """A mean, and how far the interval reaches to either side; None where one value leaves it unknown."""

    mean: float
    half_width: float | None


def confidence_interval(values: Float[np.ndarray, "value"], overlap: float = 0.0) -> Interval:
    """Student's 95 % interval of the mean: `t s sqrt(1 / n + overlap)`, with n - 1 degrees of freedom.

    Args:
        values: One figure per repetition.
        overlap: 0 if the repetitions are independent. Where each is a random split of one collection, the ratio of the
            sizes of its test and its other part: test parts then have pictures in common, and without this term the
            interval would shrink to nothing by splitting more often (Nadeau and Bengio, "Inference for the
            Generalization Error", 2003, section 3).
    """
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Interval(mean, None)
    deviation = float(np.std(values, ddof=1))
    return Interval(mean, student_quantile(count - 1) * deviation * math.sqrt(1 / count + overlap))


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, `part` of `whole` independent items; (0, 1) of none.

    Unlike `share ± 2 deviations` it is right for few items and for shares of 0 and 1: five of five say "over 57 %".
    """
    if not whole:
        return 0.0, 1.0
    share, weight = part / whole, _NORMAL_QUANTILE**2 / whole
    middle = (share + weight / 2) / (1 + weight)
    reach = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))  # against rounding


def student_quantile(freedom: int) -> float:
    """The t that |T| stays below with probability 0.95, by bisection of the closed form of `_inside`."""
    low, high = 0.0, 16.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < _COVERED else (low, middle)
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """P(|T| < t) for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine_squared = math.cos(angle) ** 2
    odd = freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine_squared
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
