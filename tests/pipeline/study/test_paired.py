"""Paired tests agree with their textbook formulas, and several tests together are corrected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from pipeline.study.paired import holm, paired_difference


def test_the_p_value_is_that_of_students_paired_test_over_common_seeds() -> None:
    one, other = {0: 0.5, 1: 0.7, 2: 0.4, 3: 0.9}, {1: 0.6, 2: 0.35, 3: 0.7, 4: 9.0}
    differences = np.array([0.1, 0.05, 0.2])
    statistic = differences.mean() / (differences.std(ddof=1) / 3**0.5)
    found = paired_difference(one, other)
    assert found is not None
    assert (found.mean, found.seeds) == (pytest.approx(differences.mean()), 3)
    assert found.p == pytest.approx(2 * student_t.sf(abs(statistic), 2))


def test_too_few_common_seeds_give_no_test() -> None:
    assert paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 1.0}) is None


def test_the_same_difference_for_all_seeds_is_certain_and_none_is_none() -> None:
    values = {seed: 0.1 * seed for seed in range(4)}
    same, more = (
        paired_difference(values, values),
        paired_difference(values, {s: v - 1 for s, v in values.items()}),
    )
    assert same is not None and same.p == 1
    assert more is not None and (more.mean, more.p) == (pytest.approx(1.0), 0)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values: list[float]) -> None:
    """A test is rejected at level a while the i-th smallest p is at most a / (n - i + 1), by definition."""
    corrected = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, number in enumerate(order):
            if p_values[number] * (len(p_values) - rank) > level:
                break
            rejected.add(number)
        assert {number for number, p in enumerate(corrected) if p <= level} == rejected
