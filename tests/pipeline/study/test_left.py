"""The hours that are left are those that trainings like them took."""

import pytest

from pipeline.study.left import Left, hours_left, what_is_left
from pipeline.study.measurement import Seconds
from pipeline.study.options import SameSide, StudyOptions, Trial

SECONDS = {
    Trial("slow", 0, 1, 1): Seconds(training=6000.0, naming=600.0, measuring=600.0),
    Trial("fast", 0, 1, 1): Seconds(training=2400.0, naming=600.0, measuring=600.0),
    Trial("fast", 0, 3, 1): Seconds(training=7200.0, naming=0.0, measuring=0.0),
    Trial("fast", 0, 1, 1, "untrained"): Seconds(training=0.0, naming=360.0, measuring=360.0),
}
ARCHITECTURES = {"slow": "lucid", "fast": "lucid", "new": "lucid", "other": "vl_sae"}


@pytest.mark.parametrize(
    ("trial", "hours"),
    [
        (Trial("fast", 1, 1, 2), (3600 + 2400) / 2),  # as this recipe, its training by budget
        (Trial("fast", 1, 3, 1), (7200 + 1200 + 7200) / 2),
        (Trial("fast", 1, 1, 1, "untrained"), 720),  # as this control of it
        (Trial("slow", 1, 1, 1, "untrained"), 7200),  # as this recipe, of which no control is known
        (Trial("new", 0, 1, 1), (7200 + 3600 + 2400) / 3),  # as all of its architecture without a control
        (Trial("new", 0, 1, 1, "untrained"), 720),
    ],
)
def test_a_training_counts_as_those_most_like_it(trial: Trial, hours: float) -> None:
    assert hours_left([trial], SECONDS, ARCHITECTURES) == pytest.approx(hours / 3600)


def test_nothing_is_known_of_an_architecture_of_which_nothing_is_measured() -> None:
    known, unknown = Trial("fast", 1, 1, 1), Trial("other", 0, 1, 1)
    assert hours_left([known, unknown], SECONDS, ARCHITECTURES) is None


def test_what_is_left_is_listed_by_architecture_and_setting() -> None:
    study = StudyOptions(
        candidates=["fast", "new", "other"],
        baseline="fast",
        controlled=["fast"],
        controls=["untrained"],
        same_side=SameSide(variant="fast", seeds=(0, 1)),
        seeds=[0, 1],
        scaled=[],
        scales=[],
        classify=["fast"],
        changed_captions=0,
        probed=[],
    )
    fast, new = (3600 + 2400) / 2, (7200 + 3600 + 2400) / 3
    assert what_is_left(study, SECONDS, ARCHITECTURES) == [
        Left("lucid", "budget 1, sparsity 1", 3, pytest.approx((fast + 2 * new) / 3600)),
        Left("lucid", "untrained", 1, pytest.approx(720 / 3600)),
        Left("vl_sae", "budget 1, sparsity 1", 2, None),
    ]
