"""What is grounded: boxes on patches, and which pair speaks for an image."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from cache import SAMPLES_SCHEMA
from pipeline.metrics.targets import box_categories, grounding_targets, union_coverage

from .axis_world import GRID, NOUNS, PATCH, SIZE, Scene, Thing, random_scenes, sample_rows

WHOLE = (range(0, 2), range(0, 2))


def samples(scenes: list[Scene]) -> pa.Table:
    rows = sample_rows(scenes)
    pairs = iter(range(len(rows)))
    numbered = [row | {"pair": None if row["skip_reason"] else next(pairs)} for row in rows]
    return pa.Table.from_pylist(numbered, schema=SAMPLES_SCHEMA)


def ask(scenes: list[Scene], categories: list[str] | None = None):
    table = samples(scenes)
    return grounding_targets(table, categories or box_categories(table), GRID, "squash")


def test_coverage_of_several_boxes_is_that_of_their_union() -> None:
    generator = np.random.default_rng(1)
    boxes = [tuple(generator.integers(0, SIZE, 4).astype(float)) for _ in range(4)]
    pixels = np.zeros((SIZE, SIZE))
    for left, top, width, height in boxes:
        pixels[int(top) : int(top + height), int(left) : int(left + width)] = 1
    expected = pixels.reshape(GRID[0], PATCH, GRID[1], PATCH).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(union_coverage(boxes, (SIZE, SIZE), GRID, "squash"), expected, atol=1e-6)


def test_a_category_without_boxes_is_left_out_and_counted() -> None:
    scene = Scene([Thing("cat", *WHOLE), Thing("boat", *WHOLE, has_box=False)], ["a cat"], listed=["star"])
    targets, left_out = ask([scene])
    assert [target.category for target in targets] == ["cat"]
    assert left_out == {"without_boxes": 2}


def test_a_box_without_area_is_no_box() -> None:
    targets, left_out = ask([Scene([Thing("cat", range(1, 1), range(0, 2))], ["a cat"])])
    assert targets == []
    assert left_out == {"without_boxes": 1}


def test_a_category_that_the_crop_cuts_away_is_counted() -> None:
    table = samples([Scene([Thing("cat", range(0, 4), range(0, 1))], ["a cat"])])
    wide = table.set_column(table.schema.get_field_index("width"), "width", pa.array([3 * SIZE], pa.int32()))
    targets, left_out = grounding_targets(wide, ["cat"], GRID, "shortest")
    assert targets == []
    assert left_out == {"out_of_view": 1}


def test_a_category_that_the_tokenizer_cannot_spell_is_counted() -> None:
    _, left_out = ask([Scene([Thing("cat", *WHOLE)], ["a cat"])], ["boat"])
    assert left_out == {"unknown_to_tokenizer": 1}


def test_the_first_pair_whose_caption_names_the_category_speaks_for_the_image() -> None:
    scene = Scene([Thing("cat", *WHOLE), Thing("boat", *WHOLE)], ["a sea", "two boats", "a boat", "a cat"])
    targets, _ = ask([scene, scene])
    assert [(target.category, target.pair) for target in targets] == [
        ("boat", 1),
        ("cat", 3),
        ("boat", 5),
        ("cat", 7),
    ]


def test_a_skipped_caption_speaks_for_nothing() -> None:
    targets, _ = ask([Scene([Thing("cat", *WHOLE)], ["a cat", "the sea"], skipped=frozenset({0}))])
    assert [(target.pair, target.caption) for target in targets] == [(0, "the sea")]


def test_the_absent_category_is_neither_shown_nor_named() -> None:
    named = random_scenes(20, seed=3)
    scenes = [*named, *(replace(scene, captions=["the sea"]) for scene in named)]
    targets, _ = ask(scenes)
    shown = {pair: {thing.noun for thing in scene.things} for pair, scene in enumerate(scenes)}
    for target in targets:
        assert target.absent_category not in {None, *shown[target.pair]}
        assert target.absent_category not in target.caption
    assert {target.absent_category for target in targets} == set(NOUNS)


def test_an_image_that_shows_every_category_has_no_absent_one() -> None:
    targets, _ = ask([Scene([Thing("cat", *WHOLE)], ["a cat"])])
    assert [target.absent_category for target in targets] == [None]
