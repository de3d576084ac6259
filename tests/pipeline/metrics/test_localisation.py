"""The three scores of a heat map, on maps and boxes made by hand and against brute force."""

import numpy as np
import pytest

from pipeline.metrics.localisation import (
    LocalisationMeter,
    inside_boxes,
    iou_at_10,
    mass_at_object,
    point_at_1,
)

BOX = np.array([[0, 0, 0, 0, 1, 1, 0, 1, 1, 0.0]])


def heat(**places: float) -> np.ndarray:
    row = np.zeros((1, 10))
    for place, value in places.items():
        row[0, int(place[1:])] = value
    return row


def test_mass_is_the_share_inside_the_box() -> None:
    assert mass_at_object(heat(p4=3, p0=1), BOX).item() == 0.75


def test_mass_counts_a_half_covered_patch_by_half() -> None:
    assert mass_at_object(heat(p4=2, p0=2), BOX * 0.5).item() == 0.25


def test_the_point_is_scored_at_the_peak() -> None:
    inside = inside_boxes(BOX)
    assert point_at_1(heat(p8=2, p0=1), inside).item() == 1
    assert point_at_1(heat(p8=1, p0=2), inside).item() == 0


def test_peaks_that_tie_share_the_point() -> None:
    assert point_at_1(heat(p8=2, p0=2, p1=1), inside_boxes(BOX)).item() == 0.5


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_flat_map_scores_what_chance_does(value: float) -> None:
    flat = np.full((1, 10), value)
    assert mass_at_object(flat, BOX).item() == pytest.approx(0.4)
    assert point_at_1(flat, inside_boxes(BOX)).item() == pytest.approx(0.4)
    assert iou_at_10(flat, inside_boxes(BOX)).item() == pytest.approx(0.4 / (1 + 4 - 0.4))


def test_overlap_takes_the_hottest_tenth() -> None:
    generator = np.random.default_rng(0)
    maps, inside = generator.random((30, 196)), generator.random((30, 196)) < 0.2
    for row, score in enumerate(iou_at_10(maps, inside)):
        hottest = set(np.argsort(-maps[row])[:20].tolist())
        box = set(np.flatnonzero(inside[row]).tolist())
        assert score == pytest.approx(len(hottest & box) / len(hottest | box))


def test_overlap_with_ties_is_the_mean_over_ways_to_break_them() -> None:
    maps = np.zeros((1, 20))
    maps[0, :3] = [2, 1, 1]
    inside = np.zeros((1, 20), dtype=bool)
    inside[0, :2] = True
    # Two places; patch 0 takes one, patches 1 and 2 share the other: 1.5 patches of the box, of 2.5 in all.
    assert iou_at_10(maps, inside).item() == pytest.approx(1.5 / 2.5)


def test_an_object_smaller_than_half_a_patch_can_still_be_hit() -> None:
    coverage = np.array([[0.0, 0.3, 0.1, 0.0], [0.0, 0.9, 0.4, 0.6]])
    np.testing.assert_array_equal(
        inside_boxes(coverage), [[False, True, False, False], [False, True, False, True]]
    )


def test_the_meter_averages_over_all_targets_of_all_batches() -> None:
    meter = LocalisationMeter()
    meter.update("code", heat(p4=1), BOX)
    meter.update("code", np.concatenate([heat(p0=1), heat(p1=1)]), np.concatenate([BOX, BOX]))
    meter.update("none", np.empty((0, 10)), np.empty((0, 10)))
    result = meter.result()
    assert set(result) == {"code"}
    assert result["code"]["point_at_1"] == pytest.approx(1 / 3)
    assert result["code"]["mass_at_object"] == pytest.approx(1 / 3)
