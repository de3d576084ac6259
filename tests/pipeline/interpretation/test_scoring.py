"""A latent stands for the concept it singles out, not for the one that is everywhere."""

import numpy as np

from pipeline.interpretation.scoring import TrueConcepts, best_told_apart, score_names


def test_a_noisy_detector_of_something_rare_is_not_mistaken_for_the_common_concept() -> None:
    generator = np.random.default_rng(0)
    common, rare = generator.random(2000) < 0.9, generator.random(2000) < 0.05
    scores = rare + generator.normal(size=2000) * 0.7
    assert best_told_apart(scores[:, None], np.stack([common, rare], axis=1)).tolist() == [1]


def test_a_detector_of_the_common_concept_is_recognised() -> None:
    generator = np.random.default_rng(0)
    common, rare = generator.random(2000) < 0.9, generator.random(2000) < 0.05
    scores = common + generator.normal(size=2000) * 0.3
    assert best_told_apart(scores[:, None], np.stack([common, rare], axis=1)).tolist() == [0]


def test_a_concept_of_every_item_is_never_chosen() -> None:
    labels = np.array([[True, True], [True, False], [True, False]])
    assert best_told_apart(np.array([[0.0], [1.0], [2.0]]), labels).tolist() == [1]


def test_a_latent_that_never_fires_or_items_that_are_all_alike_tell_nothing_apart() -> None:
    labels = np.array([[True, False], [False, False], [True, False]])
    scores = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 2.0]])
    assert best_told_apart(scores, labels).tolist() == [-1, 0]
    assert best_told_apart(scores, np.ones((3, 2), dtype=bool)).tolist() == [-1, -1]


def test_right_names_are_counted_once_per_concept_and_once_per_word() -> None:
    boat, cat = (
        TrueConcepts("noun:boat", "noun:boat", "noun:boat"),
        TrueConcepts("noun:cat", "noun:cat", None),
    )
    wrong = TrueConcepts("noun:sun", "noun:cat", "noun:sun")
    found = {1: boat, 4: boat, 5: boat, 7: cat, 8: wrong}
    score = score_names(found, {1: "boat", 4: "boats", 5: "boat", 7: "cat", 8: "sun"})
    assert (score["correct"], score["distinct_concepts"], score["distinct_names"]) == (4, 2, 3)
