"""Concept recovery on items whose codes are their labels, or have nothing to do with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.patches import has_masks, patch_average_precision, patch_labels
from pipeline.metrics.recovery import best_latents, concept_recovery, joint_recovery, near_best
from pipeline.metrics.truth import askable, label_matrix

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
    assert (
        result["transfer_share"]["vision_to_text"] == 1.0 > result["transfer_share"]["chance_vision_to_text"]
    )
    assert result["joint"] == {
        "mean": 1.0,
        "chance": result["joint"]["chance"],
        "by_kind": {"colour": 1.0, "noun": 1.0},
    }
    assert result["near"] == {
        "count": 3,
        "share": 1.0,
        "chance": result["near"]["chance"],
        "beyond_chance": 3,
        "by_kind": {"colour": 1, "noun": 2},
    }
    assert result["recovery"]["by_kind"]["noun"] == {
        "vision": 1.0,
        "text": 1.0,
        "same_latent": 2,
        "concepts": 2,
    }


def test_latents_that_share_a_concept_lower_neither_joint_recovery_nor_the_count_near_the_best() -> None:
    labels = random_labels(80, 1)
    codes = one_latent_each(labels, [5, 0, 3]) + one_latent_each(labels, [6, 1, 4])
    images, captions = codes.copy(), codes.copy()
    # One sighting each is missed, on the sides in turn, so that the best latent of the sides is never the same.
    for column, side in ((5, images), (0, images), (3, images), (6, captions), (1, captions), (4, captions)):
        side[np.flatnonzero(side[:, column])[0], column] = 0.5
        side[np.flatnonzero(side[:, column] == 0)[0], column] = 0.6
    result = recover((images, labels), (captions, labels))
    assert result["same_latent"]["count"] == 0
    assert result["near"]["count"] == 3 and result["near"]["by_kind"] == {"colour": 1, "noun": 2}
    assert 0.9 < result["joint"]["mean"] < 1.0
    assert result["joint"]["chance"] < 0.5


SIDES = arrays(np.float64, (2, 6, 4), elements=st.sampled_from([0.1, 0.3, 0.32, 0.35, 0.38, 0.6, 1.0]))


@given(SIDES, arrays(np.float64, (2, 4), elements=st.sampled_from([0.1, 0.3, 0.5])))
def test_joint_and_near_are_what_their_definitions_say(sides: np.ndarray, prevalence: np.ndarray) -> None:
    joint, near = [], []
    for concept in range(4):
        pairs = [(float(vision), float(text)) for vision, text in sides[:, :, concept].T]
        joint.append(max(min(pair) for pair in pairs))
        best = [max(pair[side] for pair in pairs) for side in (0, 1)]
        near.append(
            any(
                all(
                    pair[side] >= best[side] - 0.05 and pair[side] > prevalence[side, concept]
                    for side in (0, 1)
                )
                for pair in pairs
            )
        )
    assert joint_recovery(*sides).tolist() == joint
    assert near_best(*sides, tuple(prevalence)).tolist() == near


@given(
    arrays(np.float32, (2, 24, 5), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])), st.permutations(range(5))
)
def test_numbering_the_latents_of_both_sides_anew_changes_nothing_that_is_shared(
    codes: np.ndarray, order: list[int]
) -> None:
    labels = random_labels(24, 1)
    one = recover((codes[0], labels), (codes[1], labels))
    other = recover((codes[0][:, order], labels), (codes[1][:, order], labels))
    assert one["joint"] == other["joint"] and one["near"] == other["near"]
    joint, recovery = one["joint"]["mean"], one["recovery"]
    assert joint <= min(recovery["vision"], recovery["text"]) + 1e-12


def test_two_perfect_dictionaries_without_common_numbering_share_no_latent() -> None:
    images, captions = random_labels(80, 1), random_labels(90, 2)
    result = recover(
        (one_latent_each(images, [5, 0, 3]), images), (one_latent_each(captions, [0, 3, 5]), captions)
    )
    assert result["recovery"]["vision"] == result["recovery"]["text"] == 1.0
    assert result["same_latent"] == {"count": 0, "share": 0.0}
    assert result["transfer"]["text_to_vision"] < 0.6
    assert result["transfer_share"]["text_to_vision"] == result["transfer"]["text_to_vision"]
    assert result["joint"]["mean"] < 0.6 and result["near"]["count"] == 0


def test_an_unrelated_dictionary_recovers_what_chance_does() -> None:
    images, captions = random_labels(400, 1), random_labels(400, 2)
    generator = np.random.default_rng(3)
    noise = [generator.random((400, 8)).astype(np.float32) for _ in range(2)]
    result = recover((noise[0], images), (noise[1], captions))
    assert result["near"]["count"] >= 2 and result["near"]["beyond_chance"] <= 1
    for side in ("vision", "text"):
        assert result["recovery"][side] == pytest.approx(result["chance"][side], abs=0.05)
        assert result["prevalence"][side] == pytest.approx(0.3, abs=0.05)


def test_a_dead_dictionary_has_no_same_latent() -> None:
    images = random_labels(50, 1)
    dead = np.zeros((50, 8), dtype=np.float32)
    result = recover((dead, images), (dead, images))
    assert result["same_latent"]["count"] == result["near"]["count"] == 0
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
