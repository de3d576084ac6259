"""From the correlation of two sides' latents to one assignment of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import linear_sum_assignment

_STEPS = 2**20
"""Correlations are compared in steps of 1 / _STEPS, so that machines whose sums differ in the last digits agree."""

_NEVER = -(2.0**40)


class Matching(NamedTuple):
    """Which latents of the two sides belong together, the most certain first.

    Attributes:
        vision: the latents of vision, each once, in their new order.
        text: likewise the latents of text that belong to them.
        confidence: the correlation of each pair of latents; 0 where one of them never fired.
    """

    vision: Int64[np.ndarray, "latent"]
    text: Int64[np.ndarray, "latent"]
    confidence: Float64[np.ndarray, "latent"]


def assign(
    correlation: Float64[np.ndarray, "latent latent"],
    vision_fired: Bool[np.ndarray, "latent"],
    text_fired: Bool[np.ndarray, "latent"],
) -> Matching:
    """Pair the latents so that the sum of the pairs' correlations is as large as it can be.

    The sign counts: latents that exclude each other do not belong together. Latents that never fired are left over,
    and paired with each other at the end. Equal sums are decided alike on every machine (arXiv 2606.29888).
    """
    usable = vision_fired[:, None] & text_fired
    gains = np.where(usable, np.round(correlation * _STEPS), _NEVER)
    vision, text = linear_sum_assignment(gains, maximize=True)
    confidence = np.where(usable[vision, text], correlation[vision, text], 0.0)
    rank = np.where(usable[vision, text], gains[vision, text], _NEVER)
    order = np.argsort(-rank, kind="stable")
    return Matching(vision[order].astype(np.int64), text[order].astype(np.int64), confidence[order])
