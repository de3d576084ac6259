"""Concept recovery on items whose codes are their labels, or have nothing to do with them."""

import numpy as np
import pytest

from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.patches import has_masks, patch_average_precision, patch_labels
from pipeline.metrics.recovery import askable, best_latents, concept_recovery, label_matrix

CONCEPTS = ["colour:red", "noun:boat", "noun:cat"]


def random_labels(items: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((items, len(CONCEPTS))) < 0.3


def one_latent_each(labels: np.ndarray, columns: list[int], width: int = 8) -> np.ndarray:
    codes = np.zeros((len(labels), width), dtype=np.float32)
    codes[:, columns] = labels
    return codes


def recover(vision: tuple[np.ndarray, np.ndarray], text: tuple[np.ndarray, np.ndarray]) -> dict:
    generator = np.random.default_rng(0)
    return concept_recovery(CONCEPTS, best_latents(*vision, generator), best_latents(*text, generator))


def test_labels_follow_the_lists_and_ignore_what_is_not_asked() -> None:
    labels = label_matrix([["noun:cat"], [], ["colour:red", "noun:cat", "noun:sun"]], CONCEPTS)
    np.testing.assert_array_equal(labels, [[0, 0, 1], [0, 0, 0], [1, 0, 1]])


def test_a_concept_is_asked_only_with_enough_items_with_and_without_it_on_both_sides() -> None:
    counts = {"rare": 2, "enough": 3, "common": 7, "constant": 10}
    labels = np.stack([np.arange(10) < count for count in counts.values()], axis=1)
    assert askable(labels, labels, 3) == [1, 2]
    assert askable(labels, labels[:, ::-1], 3) == [1, 2]
    assert askable(labels, labels[:, [0, 0, 0, 0]], 3) == []


def test_a_perfect_shared_dictionary_recovers_every_concept_with_the_same_latent() -> None:
    images, captions = random_labels(80, 1), random_labels(90, 2)
    columns = [5, 0, 3]
    result = recover(
        (one_latent_each(images, columns), images), (one_latent_each(captions, columns), captions)
    )
    assert result["recovery"]["vision"] == result["recovery"]["text"] == 1.0
    assert result["same_latent"] == {"count": 3, "share": 1.0}
    assert result["transfer"] == {"text_to_vision": 1.0, "vision_to_text": 1.0}
    assert result["recovery"]["by_kind"]["noun"] == {
        "vision": 1.0,
        "text": 1.0,
        "same_latent": 2,
        "concepts": 2,
    }


def test_two_perfect_dictionaries_without_common_numbering_share_no_latent() -> None:
    images, captions = random_labels(80, 1), random_labels(90, 2)
    result = recover(
        (one_latent_each(images, [5, 0, 3]), images), (one_latent_each(captions, [0, 3, 5]), captions)
    )
    assert result["recovery"]["vision"] == result["recovery"]["text"] == 1.0
    assert result["same_latent"] == {"count": 0, "share": 0.0}
    assert result["transfer"]["text_to_vision"] < 0.6


def test_an_unrelated_dictionary_recovers_what_chance_does() -> None:
    images, captions = random_labels(400, 1), random_labels(400, 2)
    generator = np.random.default_rng(3)
    noise = [generator.random((400, 8)).astype(np.float32) for _ in range(2)]
    result = recover((noise[0], images), (noise[1], captions))
    for side in ("vision", "text"):
        assert result["recovery"][side] == pytest.approx(result["chance"][side], abs=0.05)
        assert result["prevalence"][side] == pytest.approx(0.3, abs=0.05)


def test_a_dead_dictionary_has_no_same_latent() -> None:
    images = random_labels(50, 1)
    dead = np.zeros((50, 8), dtype=np.float32)
    result = recover((dead, images), (dead, images))
    assert result["same_latent"]["count"] == 0
    assert result["recovery"]["vision"] == pytest.approx(result["prevalence"]["vision"])


def test_patches_are_labelled_by_the_masks_of_objects_with_the_concept() -> None:
    # An image of 4 x 2 pixels on a grid of two patches: one mask fills the left patch, the other a pixel.
    left = '{"size": [2, 4], "counts": [0, 4, 4]}'
    pixel = '{"size": [2, 4], "counts": [6, 1, 1]}'
    objects = [
        {"segmentation": left, "concepts": ["noun:boat", "colour:red"]},
        {"segmentation": pixel, "concepts": ["noun:cat", "colour:red"]},
    ]
    labels = patch_labels(objects, [*CONCEPTS, "noun:sun"], (4, 2), (1, 2), "squash")
    # The cat covers half of no patch and keeps the one it covers most; red is held by the boat's patch alone.
    np.testing.assert_array_equal(labels, [[True, True, False, False], [False, False, True, False]])


def test_an_image_counts_as_masked_only_when_every_object_with_concepts_is() -> None:
    assert has_masks([{"segmentation": "x", "concepts": ["a"]}, {"segmentation": "", "concepts": []}])
    assert not has_masks([{"segmentation": "x", "concepts": ["a"]}, {"segmentation": "", "concepts": ["b"]}])


def test_patch_average_precision_is_that_of_each_concepts_own_latent() -> None:
    generator = np.random.default_rng(0)
    indices = np.stack([generator.permutation(6)[:2] for _ in range(40)])
    values = generator.random((40, 2)).astype(np.float32)
    labels = generator.random((40, 2)) < 0.3
    dense = np.zeros((40, 6), dtype=np.float32)
    np.put_along_axis(dense, indices, values, axis=1)
    every = average_precision(dense, labels)
    result = patch_average_precision(values, indices, labels, np.array([4, 1]))
    np.testing.assert_allclose(result, [every[4, 0], every[1, 1]])
