import random
from dataclasses import replace

import numpy as np
import pytest

from pipeline.world.scenes.draw import RenderedScene, render
from pipeline.world.scenes.sampling import sample_scene
from pipeline.world.scenes.scene import SETTINGS, Place, Scene, Thing

SIZE = 96


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Scene, RenderedScene]]:
    scenes = [sample_scene(random.Random(f"draw/{seed}"), "seen") for seed in range(40)]
    return [(scene, render(scene, SIZE)) for scene in scenes]


def test_a_picture_has_an_image_a_mask_and_a_box_for_every_object(
    drawn: list[tuple[Scene, RenderedScene]],
) -> None:
    for scene, rendered in drawn:
        objects = len(scene.instances())
        assert rendered.image.shape == (SIZE, SIZE, 3) and rendered.image.dtype == np.uint8
        assert rendered.masks.shape == (objects, SIZE, SIZE) and rendered.masks.dtype == np.bool_
        assert len(rendered.boxes) == objects and rendered.instances == tuple(scene.instances())


def test_boxes_are_tight_around_the_masks(drawn: list[tuple[Scene, RenderedScene]]) -> None:
    for _, rendered in drawn:
        for mask, box in zip(rendered.masks, rendered.boxes, strict=True):
            pixels = [(x, y) for y in range(SIZE) for x in range(SIZE) if mask[y, x]]
            xs, ys = {x for x, _ in pixels}, {y for _, y in pixels}
            assert box == (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)


def test_masks_share_no_pixel_and_lie_where_the_objects_are_placed(
    drawn: list[tuple[Scene, RenderedScene]],
) -> None:
    for scene, rendered in drawn:
        assert rendered.masks.sum(axis=0).max() == 1
        for (_, place), (x, y, width, height) in zip(scene.instances(), rendered.boxes, strict=True):
            placed = np.array([place.x, place.y, place.right, place.bottom]) * SIZE
            assert np.abs(placed - [x, y, x + width, y + height]).max() < 0.03 * SIZE


def test_at_least_85_percent_of_every_object_is_visible(drawn: list[tuple[Scene, RenderedScene]]) -> None:
    for scene, rendered in drawn:
        if len(rendered.instances) == 1:
            continue
        for (thing, place), mask in zip(rendered.instances, rendered.masks, strict=True):
            alone = Scene(scene.setting, (replace(thing, count="one"),), None, ((place,),))
            assert mask.sum() >= 0.85 * render(alone, SIZE).masks[0].sum()


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_mask_covers_the_pixels_that_the_object_changes(setting: str) -> None:
    place = Place(0.3, 0.1, 0.3, 0.3, False)
    behind = Place(0.7, 0.1, 0.2, 0.2, False)
    star, heart = Thing("star", "purple", "medium"), Thing("heart", "green", "small")
    with_star = render(Scene(setting, (star, heart), None, ((place,), (behind,))), SIZE)
    without = render(Scene(setting, (heart,), None, ((behind,),)), SIZE)
    changed = (with_star.image != without.image).any(axis=-1)
    mask = with_star.masks[[thing.noun for thing, _ in with_star.instances].index("star")]
    assert not (changed & ~_grown(mask)).any()
    assert not (mask & ~_grown(changed)).any()


def test_a_flipped_object_is_its_own_mirror_image() -> None:
    places = (Place(0.1, 0.4, 0.3, 0.3, False), Place(0.6, 0.4, 0.3, 0.3, True))
    left, right = (
        render(Scene("sea", (Thing("key", "red", "medium"),), None, ((p,),)), SIZE) for p in places
    )
    differing = left.masks[0] ^ right.masks[0][:, ::-1]
    assert differing.sum() < 0.06 * left.masks[0].sum()
    assert (left.masks[0] ^ right.masks[0]).sum() > left.masks[0].sum()


def test_what_is_nearer_is_drawn_over_what_is_further_away() -> None:
    far, near = Place(0.30, 0.3, 0.3, 0.3, False), Place(0.35, 0.4, 0.3, 0.3, False)
    scene = Scene(
        "snow", (Thing("ball", "red", "medium"), Thing("apple", "blue", "medium")), None, ((near,), (far,))
    )
    rendered = render(scene, SIZE)
    assert [thing.noun for thing, _ in rendered.instances] == ["apple", "ball"]
    alone = render(Scene("snow", (Thing("ball", "red", "medium"),), None, ((near,),)), SIZE)
    assert np.array_equal(rendered.masks[1], alone.masks[0])


def test_the_same_scene_gives_the_same_pixels() -> None:
    scene = sample_scene(random.Random(3), "unseen")
    first, second = render(scene, SIZE), render(scene, SIZE)
    assert np.array_equal(first.image, second.image) and np.array_equal(first.masks, second.masks)


def test_sceneries_of_a_setting_differ() -> None:
    thing, place = Thing("sun", "red", "small"), Place(0.4, 0.1, 0.2, 0.2, False)
    images = [render(Scene("meadow", (thing,), None, ((place,),), number), SIZE).image for number in (0, 1)]
    assert not np.array_equal(*images)


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its neighbours: room for the soft edges of the picture."""
    padded = np.pad(mask, 1)
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    return np.any([padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]] for dy, dx in shifts], axis=0)
