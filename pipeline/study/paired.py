"""Paired tests over seeds: does a figure of one recipe differ from that of another by more than seeds do?"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_rel

FEWEST_SEEDS = 3
"""Below these a test of a mean difference has one degree of freedom, and finds next to nothing."""


class Difference(NamedTuple):
    """Mean difference over the seeds that both have.

    Attributes:
        mean: of (one - other).
        seeds: how many.
        p: two-sided, of Student's paired test; NaN never: 1 where nothing differs, 0 where all differ by the same.
    """

    mean: float
    seeds: int
    p: float


def paired_difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """Test whether `one` differs from `other`; None where they have fewer than `FEWEST_SEEDS` seeds in common.

    Args:
        one: a figure by seed.
        other: the same figure of another recipe. Equal seeds have equal batches in equal order, hence pairs.
    """
    seeds = sorted(one.keys() & other.keys())
    if len(seeds) < FEWEST_SEEDS:
        return None
    left, right = (np.array([values[seed] for seed in seeds]) for values in (one, other))
    differences = left - right
    if np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        return Difference(float(differences.mean()), len(seeds), float(not differences.any()))
    p = float(ttest_rel(left, right).pvalue)
    return Difference(float(differences.mean()), len(seeds), 1.0 if math.isnan(p) else p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests so that all of them together err in at most so many cases.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979): the i-th smallest of n is multiplied by
    n - i + 1, and is at least the one before it and at most 1.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = largest
    return corrected
