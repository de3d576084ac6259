"""Latents as detectors against counting by hand: F1, splitting, absorption, and directions of the decoder."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.metrics.absorption import absorption_figures, implications
from pipeline.metrics.concept_directions import MeanDifferences, mean_matched_cosine
from pipeline.metrics.detection import f1_figures, f1_scores, splitting_figures
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.recovery import BestLatents

CODES = arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, -1.0, 0.5, 2.0]))
LABELS = arrays(np.bool_, (12, 2)).filter(lambda labels: labels.any(axis=0).all())


def known(scores: list[list[float]], prevalence: float = 0.1) -> BestLatents:
    """What is known of latents (rows) and concepts from their average precision."""
    matrix = np.array(scores)
    share = np.full(matrix.shape[1], prevalence)
    return BestLatents(matrix, matrix.argmax(axis=0), matrix.max(axis=0), share, np.zeros_like(matrix))


@given(CODES, LABELS)
def test_f1_is_that_of_saying_yes_where_the_latent_fires(codes: np.ndarray, labels: np.ndarray) -> None:
    scores = f1_scores(codes, labels)
    for latent in range(3):
        for concept in range(2):
            yes = [bool(code > 0) for code in codes[:, latent]]
            has = labels[:, concept].tolist()
            hits = sum(said and is_so for said, is_so in zip(yes, has, strict=True))
            precision, recall = (hits / sum(of) if sum(of) else 0.0 for of in (yes, has))
            expected = 2 * precision * recall / (precision + recall) if hits else 0.0
            assert scores[latent, concept] == pytest.approx(expected)


def test_f1_of_one_latent_is_by_its_worse_side_and_that_of_a_silent_dictionary_is_nothing() -> None:
    generator = np.random.default_rng(0)
    labels = {side: generator.random((300, 2)) < 0.3 for side in ("vision", "text")}
    same = {side: held.astype(np.float32) for side, held in labels.items()}
    swapped = same | {"text": same["text"][:, ::-1]}
    figures = f1_figures(same, labels, generator)
    assert figures["joint"] == figures["vision"] == figures["text"] == 1.0
    assert max(figures["chance"].values()) < 0.5
    assert f1_figures(swapped, labels, generator)["joint"] < 0.5
    silent = {side: np.zeros((300, 2), dtype=np.float32) for side in labels}
    assert f1_figures(silent, labels, generator)["joint"] == 0.0


def test_latents_of_one_concept_and_concepts_of_one_latent_are_counted_per_side_and_for_both() -> None:
    # Latents 0 and 1 are the first concept in pictures, but only 0 in captions; latent 2 is the other two at once.
    vision = known([[0.9, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.7, 0.6], [0.1, 0.5, 0.5]])
    text = known([[0.7, 0.1, 0.1], [0.5, 0.1, 0.1], [0.1, 0.6, 0.9], [0.1, 0.1, 0.1]])
    figures = splitting_figures(vision, text)
    assert figures["vision"] == {
        "latents": 3,
        "concepts": 3,
        "latents_per_concept": pytest.approx(4 / 3),
        "concepts_per_latent": pytest.approx(4 / 3),
        "uniqueness": pytest.approx(2 / 3),
    }
    assert figures["both"]["latents"] == 2 and figures["both"]["uniqueness"] == 1.0


def test_a_concept_that_most_items_have_is_not_given_to_every_latent() -> None:
    common = known([[0.8], [0.8]], prevalence=0.75)
    figures = splitting_figures(common, common)["both"]
    assert (figures["latents"], figures["concepts"]) == (0, 0)
    assert isinstance(figures["uniqueness"], NotDefined)


def test_only_a_concept_that_implies_another_on_both_sides_is_narrower() -> None:
    sailing, boat, red, sea = [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 0]
    images = np.array([sailing, boat, red, sea], dtype=bool).T
    captions = images.copy()
    captions[0, 3] = False  # a caption of a boat that does not say that it is at sea
    assert implications(images, captions) == [(0, 1)]
    assert implications(images[:, [1, 1]], images[:, [1, 1]]) == []


def test_absorption_is_silence_of_the_wide_latent_where_the_narrow_one_fires() -> None:
    labels = np.array([[1, 1]] * 4 + [[0, 1]] * 4 + [[0, 0]] * 4, dtype=bool)
    fires = np.array([[1, 0]] * 2 + [[0, 0]] + [[1, 1]] + [[0, 1]] * 3 + [[0, 0]] * 5, dtype=np.float32)
    best = known([[0.9, 0.2], [0.2, 0.9]])
    figures = absorption_figures(
        {"vision": fires, "text": labels.astype(np.float32)},
        {"vision": labels, "text": labels},
        {"vision": best, "text": best},
    )
    assert figures == {"pairs": 1, "vision": 0.5, "text": 0.0, "control": {"vision": 0.25, "text": 0.0}}
    alone = dict.fromkeys(("vision", "text"), labels[:, :1])
    assert isinstance(absorption_figures({"vision": fires, "text": fires}, alone, {}), NotDefined)


@given(
    arrays(np.float64, (4, 3), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])),
    arrays(np.float64, (2, 3), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])),
)
def test_the_matched_cosine_is_the_largest_of_all_matchings(
    directions: np.ndarray, concepts: np.ndarray
) -> None:
    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        lengths = np.linalg.norm(one), np.linalg.norm(other)
        return float(one / lengths[0] @ (other / lengths[1])) if min(lengths) > 0 else 0.0

    best = max(
        sum(cosine(directions[latent], concepts[concept]) for concept, latent in enumerate(chosen)) / 2
        for chosen in permutations(range(4), 2)
    )
    assert mean_matched_cosine(directions, concepts) == pytest.approx(best, abs=1e-9)


def test_differences_of_means_add_up_over_batches() -> None:
    generator = np.random.default_rng(0)
    labels, activations = generator.random((30, 4)) < 0.4, generator.normal(size=(30, 5)).astype(np.float32)
    means = MeanDifferences(labels, np.random.default_rng(1))
    for rows in np.array_split(generator.permutation(30), 4):
        means.update(rows.tolist(), activations[rows])
    shuffled = np.random.default_rng(1).permutation(labels, axis=0)
    expected = [
        activations[held].mean(axis=0) - activations[~held].mean(axis=0)
        for held in np.concatenate([labels, shuffled], axis=1).T
    ]
    np.testing.assert_allclose(means.differences(), expected, atol=1e-6)
