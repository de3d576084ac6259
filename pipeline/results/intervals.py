"""A mean, or a share, with its 95 % confidence interval."""

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest
from scipy.stats import t as student_t

_COVERED = 0.95


def half_width(values: Float[np.ndarray, "value"], overlap: float = 0.0) -> float | None:
    """Compute half of Student's 95 % interval of the mean: `t s sqrt(1 / n + overlap)`, n - 1 degrees of freedom.

    Args:
        values: One figure per repetition.
        overlap: 0 if the repetitions are independent. Where each is a random split of one collection, the ratio of the
            sizes of its test and its other part: test parts then have pictures in common, and without this term the
            interval would shrink to nothing by splitting more often (Nadeau and Bengio, "Inference for the
            Generalization Error", 2003, section 3).
    """
    count = len(values)
    if count < 2:
        return None
    deviation = float(np.std(values, ddof=1))
    quantile = float(student_t.ppf((1 + _COVERED) / 2, count - 1))
    return quantile * deviation * math.sqrt(1 / count + overlap)


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, `part` of `whole` independent items; (0, 1) of none.

    Unlike `share ± 2 deviations` it is right for few items and for shares of 0 and 1: five of five say "over 57 %".
    """
    if not whole:
        return 0.0, 1.0
    interval = binomtest(part, whole).proportion_ci(_COVERED, method="wilson")
    return float(interval.low), float(interval.high)


def intervals(values: Float[np.ndarray, "run value"], overlap: float = 0.0) -> dict[str, float | None]:
    """Give the `mean` of all values, and the half widths of two intervals of it.

    Returns:
        `mean`; `over_pictures`, from the values averaged over runs, which may have `overlap`; `over_trainings`, from
        the runs averaged over their values. None for a half width that one value leaves unknown.
    """
    return {
        "mean": float(values.mean()),
        "over_pictures": half_width(values.mean(axis=0), overlap),
        "over_trainings": half_width(values.mean(axis=1)),
    }
