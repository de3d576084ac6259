"""Average precision against its definition, threshold by threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.metrics.average_precision import average_precision


def by_definition(scores: np.ndarray, labels: np.ndarray) -> float:
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        kept = scores >= threshold
        recall = (kept & labels).sum() / labels.sum()
        total += (recall - recall_before) * (kept & labels).sum() / kept.sum()
        recall_before = recall
    return total


@given(
    arrays(np.float32, (9, 3), elements=st.sampled_from([0.0, 0.5, 1.0, 2.5])),
    arrays(bool, (9, 2)),
)
def test_equals_the_definition_also_with_ties(scores: np.ndarray, labels: np.ndarray) -> None:
    labels[0] = True
    result = average_precision(scores, labels)
    expected = [[by_definition(scores[:, i], labels[:, j]) for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@given(st.permutations(range(8)))
def test_does_not_depend_on_the_order_of_the_items(order: list[int]) -> None:
    scores = np.array([3, 3, 3, 1, 1, 0, 0, 0], dtype=np.float32)[:, None]
    labels = np.array([1, 0, 0, 1, 0, 0, 1, 0], dtype=bool)[:, None]
    np.testing.assert_array_equal(
        average_precision(scores[order], labels[order]), average_precision(scores, labels)
    )


def test_a_latent_that_never_fires_scores_the_prevalence() -> None:
    labels = np.arange(20)[:, None] % 5 == 0
    assert average_precision(np.zeros((20, 1), np.float32), labels).item() == pytest.approx(0.2)


def test_a_latent_that_ranks_all_positives_first_scores_one_and_all_last_the_worst_possible() -> None:
    labels = np.array([True, True, False, False, False])[:, None]
    scores = np.array([5, 4, 3, 2, 1], dtype=np.float32)[:, None]
    assert average_precision(scores, labels).item() == 1.0
    assert average_precision(-scores, labels).item() == pytest.approx((1 / 4 + 2 / 5) / 2)


def test_a_concept_without_a_positive_has_no_average_precision() -> None:
    assert np.isnan(average_precision(np.ones((4, 1), np.float32), np.zeros((4, 1), bool))).all()
