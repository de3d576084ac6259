"""A claim is confirmed or refuted by what all seeds say, and left open by what they do not."""

import pytest

from pipeline.results.claims import Claim
from pipeline.study.claims import judge_over_seeds

CLAIM = Claim("b is above a, and c above b", (("a", "x"), ("b", "x"), ("c", "x")))


def figures(**rows: list[float]) -> dict[str, dict[int, dict[str, float]]]:
    return {row: {seed: {"x": value} for seed, value in enumerate(values)} for row, values in rows.items()}


LOW, MIDDLE, HIGH = [0.10, 0.12, 0.09, 0.11], [0.30, 0.33, 0.31, 0.30], [0.52, 0.50, 0.53, 0.55]
NOISE = [0.1, 0.5, 0.2, 0.4]


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ((LOW, MIDDLE, HIGH), "confirmed"),
        ((LOW, HIGH, MIDDLE), "refuted"),
        ((LOW, MIDDLE, NOISE), "open"),
        ((LOW, MIDDLE, HIGH[:2]), "not measured"),
    ],
)
def test_a_claim_is_what_its_weakest_step_is(rows: tuple[list[float], ...], answer: str) -> None:
    a, b, c = rows
    (verdict,) = judge_over_seeds(figures(a=a, b=b, c=c), [CLAIM])
    assert verdict.answer == answer
    assert len(verdict.steps) == (0 if answer == "not measured" else 2)


def test_the_more_claims_are_tested_the_more_each_takes() -> None:
    rows = figures(a=LOW, b=[0.16, 0.17, 0.18, 0.17])
    one = Claim("b is above a", (("a", "x"), ("b", "x")))
    (alone,) = judge_over_seeds(rows, [one])
    together = judge_over_seeds(rows, [one] * 5)
    assert alone.answer == "confirmed"
    assert together[0].steps[0].p == pytest.approx(5 * alone.steps[0].p)
