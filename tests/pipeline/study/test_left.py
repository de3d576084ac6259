"""The hours that are left are those that trainings like them took."""

import pytest

from pipeline.study.left import hours_left
from pipeline.study.options import Trial

SECONDS = {
    Trial("slow", 0, 1, 1): 7200.0,
    Trial("fast", 0, 1, 1): 3600.0,
    Trial("fast", 1, 1, 1): 1800.0,
    Trial("fast", 0, 3, 1): 9000.0,
}


@pytest.mark.parametrize(
    ("trial", "hours"),
    [
        (Trial("fast", 2, 1, 2), (1.0 + 0.5 + 2.5 / 3) / 3),  # as this recipe, by budget
        (Trial("new", 0, 3, 1), (6.0 + 3.0 + 1.5 + 2.5) / 4),  # as all without a control
        (Trial("new", 0, 1, 1, "deranged"), (2.0 + 1.0 + 0.5 + 2.5 / 3) / 4),  # as all
    ],
)
def test_a_training_counts_as_those_most_like_it(trial: Trial, hours: float) -> None:
    assert hours_left([trial], SECONDS) == pytest.approx(hours)


def test_nothing_is_known_before_the_first_training() -> None:
    assert hours_left([Trial("new", 0, 1, 1)], {}) is None
