from pathlib import Path

import pytest

from pipeline.results.catalogue import SECTIONS
from pipeline.results.claims import CLAIMS, judge
from pipeline.results.run import Run


def run(name: str, metrics=None) -> Run:
    return Run(name, Path(name), metrics or {}, {})


@pytest.mark.parametrize(
    ("figures", "in_order"),
    [
        ([0.1, 0.2, 0.3, 0.4], True),
        ([0.1, 0.3, 0.2, 0.4], False),
        ([0.1, None, None, 0.4], True),
        ([0.2, 0.2, None, None], False),
        ([None, None, None, 0.4], None),
    ],
)
def test_a_claims_figures_are_in_order_if_all_that_were_measured_rise(figures, in_order):
    claim = CLAIMS[0]
    runs = [
        run(variant, {} if figure is None else {key: figure})
        for (variant, key), figure in zip(claim.rising, figures, strict=True)
    ]
    assert judge(runs)[0].in_order is in_order


def test_claims_are_about_figures_of_the_catalogue():
    known = {figure.key for section in SECTIONS for figure in section.figures}
    assert {key for claim in CLAIMS for _, key in claim.rising} <= known


def test_the_papers_own_numbers_bear_out_its_claims():
    metrics: dict[str, dict[str, float]] = {}
    for figure in (figure for section in SECTIONS for figure in section.figures):
        for variant, value in figure.paper.items():
            metrics.setdefault(variant, {})[figure.key] = value
    verdicts = judge([run(name, values) for name, values in metrics.items()])
    measured = {verdict.claim.text: verdict.in_order for verdict in verdicts if not verdict.too_few}
    assert len(measured) == 7
    assert all(measured.values())


@pytest.mark.parametrize(
    ("key", "figures", "why"),
    [
        ("reconstruction.text_to_vision.shared", (-9.0, -0.1), "no R² is above 0"),
        ("reconstruction.text_to_vision.shared", (-0.1, 0.0), "no R² is above 0"),
        ("reconstruction.text_to_vision.shared", (-0.1, 0.1), ""),
        ("degeneracy.text_to_image", (0.5, 0.0), "nothing fires"),
        ("degeneracy.text_to_image", (0.5, 0.1), ""),
    ],
)
def test_bad_figures_are_praised_for_no_order(key, figures, why):
    runs = [run(name, {key: figure}) for name, figure in zip(("shared_only", "lucid"), figures, strict=True)]
    runs += [run(name, {key: figure}) for name, figure in zip(("share_k",), figures, strict=False)]
    (verdict,) = [one for one in judge(runs) if not one.too_few]
    assert why in verdict.why
    assert (verdict.in_order is None) == bool(why)
