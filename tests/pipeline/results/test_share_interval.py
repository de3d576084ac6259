"""Wilson's interval against its definition: the shares that a test of the normal approximation does not reject."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.results.intervals import share_interval


@given(st.integers(1, 500).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_its_ends_are_just_not_rejected(counts: tuple[int, int]) -> None:
    part, whole = counts
    low, high = share_interval(part, whole)
    assert 0 <= low <= part / whole <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            deviations = abs(part / whole - end) / math.sqrt(end * (1 - end) / whole)
            assert deviations == pytest.approx(1.959964, rel=1e-6) or end == pytest.approx(part / whole)


def test_of_nothing_everything_is_possible() -> None:
    assert share_interval(0, 0) == (0.0, 1.0)
