from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.world.pretraining import pool as pool_module
from pipeline.world.pretraining.batches import even_weights
from pipeline.world.pretraining.facts import BACKGROUND, MOST_THINGS, UNDECIDED
from pipeline.world.pretraining.pool import (
    ScenePool,
    load_pool,
    mirrored_where,
    patch_labels,
    render_example,
    training_scene,
)
from pipeline.world.scenes.scene import CONVERSE


def test_a_patch_shows_the_thing_that_covers_half_of_it() -> None:
    masks = np.zeros((3, 224, 224), dtype=bool)
    masks[0, :16, :16] = True  # all of patch 0
    masks[1, :16, 16:26] = True  # more than half of patch 1
    masks[2, :16, 32:38] = True  # less than half of patch 2
    labels = patch_labels(masks, [1, 0, 0])
    assert labels[:4].tolist() == [1, 0, UNDECIDED, BACKGROUND]
    assert set(labels[3:].tolist()) == {BACKGROUND}


def test_two_objects_of_one_thing_cover_a_patch_together() -> None:
    masks = np.zeros((2, 224, 224), dtype=bool)
    masks[0, :16, :5] = True
    masks[1, :16, 11:16] = True
    assert patch_labels(masks, [0, 0])[0] == 0
    assert patch_labels(masks, [0, 1])[0] == UNDECIDED


def test_patches_are_drawn_evenly_over_the_things_of_an_image_and_never_undecided() -> None:
    labels = torch.tensor([[0, 0, 0, 1, BACKGROUND, BACKGROUND, UNDECIDED, BACKGROUND]], dtype=torch.uint8)
    weights = even_weights(labels)[0]
    for label in (0, 1, BACKGROUND):
        assert torch.isclose(weights[labels[0] == label].sum(), torch.tensor(1.0))
    assert weights[6] == 0


def test_rendered_chunks_are_what_rendering_gives_and_are_not_rendered_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "CHUNK_SCENES", 2)
    for chunk in (0, 1):
        pool_module._render_chunk(tmp_path, 7, chunk)
    loaded = load_pool(tmp_path, 7, 3)
    assert loaded.pixels.shape == (3, 3, 112, 112)
    for number in range(3):
        scene = training_scene(7, number)
        pixels, labels = render_example(scene)
        assert loaded.scenes[number] == scene
        assert np.array_equal(loaded.pixels[number], pixels)
        assert np.array_equal(loaded.patch_things[number], labels)
        assert (labels < MOST_THINGS).any()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    pool_module.render_pool(tmp_path, 7, 4, processes=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == finished


def test_training_scenes_are_a_function_of_seed_and_number() -> None:
    assert training_scene(1, 5) == training_scene(1, 5)
    assert training_scene(1, 5) != training_scene(1, 6)
    assert training_scene(1, 5) != training_scene(2, 5)


def test_a_mirrored_scene_is_what_its_flipped_picture_shows() -> None:
    scenes = [training_scene(5, number) for number in range(12)]
    examples = [render_example(scene) for scene in scenes]
    pool = ScenePool(scenes, *(torch.stack([torch.from_numpy(e[part]) for e in examples]) for part in (0, 1)))
    flipped = mirrored_where(torch.tensor([True, False] * 6), pool)
    for row, scene in enumerate(flipped.scenes):
        if row % 2:
            assert scene == scenes[row] and torch.equal(flipped.pixels[row], pool.pixels[row])
            continue
        _, labels = render_example(scene)
        agree = flipped.patch_things[row] == torch.from_numpy(labels)
        assert agree.float().mean() > 0.97  # The borders of an object fall on other pixels.
        if scene.relation in ("left of", "right of"):
            assert scene.relation == CONVERSE[scenes[row].relation]
        else:
            assert scene.relation == scenes[row].relation
