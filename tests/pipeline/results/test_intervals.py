"""Intervals by hand, with the quantiles of printed tables, and by how often they hold the truth."""

import numpy as np
import pytest

from pipeline.results.intervals import half_width


def test_three_values_by_hand() -> None:
    assert half_width(np.array([0.8, 0.9, 1.0])) == pytest.approx(
        4.302653 * 0.1 / 3**0.5
    )  # the deviation is 0.1


def test_overlapping_repetitions_widen_the_interval_by_hand() -> None:
    widened = half_width(np.array([0.8, 0.9, 1.0]), overlap=1.0)
    assert widened == pytest.approx(4.302653 * 0.1 * (1 / 3 + 1) ** 0.5)


def test_one_value_has_no_interval() -> None:
    assert half_width(np.array([0.7])) is None


def test_intervals_of_random_splits_hold_the_truth_as_often_as_they_say_only_with_the_overlap() -> None:
    rng = np.random.default_rng(0)
    holds = {0.0: 0, 1.0: 0}
    for _ in range(400):
        collection = rng.random(60) < 0.7
        halves = np.array([rng.permutation(collection)[:30].mean() for _ in range(10)])
        for overlap in holds:
            reach = half_width(halves, overlap)
            assert reach is not None
            holds[overlap] += abs(halves.mean() - 0.7) <= reach
    assert 0.91 < holds[1.0] / 400 < 0.99
    assert holds[0.0] / 400 < 0.8
