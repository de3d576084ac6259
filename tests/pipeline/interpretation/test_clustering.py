import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.interpretation.clustering import Cluster, greedy_cosine_clusters, purity

VECTORS = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=9)


def by_hand(vectors: np.ndarray, hits: list[int], similarity: float) -> list[set[int]]:
    """The rule word for word, on plain numpy: founders attract, the most frequent go first."""
    order = sorted(range(len(hits)), key=lambda term: -hits[term])
    groups: list[list[int]] = []
    for term in order:
        cosines = []
        for group in groups:
            lengths = np.linalg.norm(vectors[term]) * np.linalg.norm(vectors[group[0]])
            cosines.append(vectors[term] @ vectors[group[0]] / lengths if lengths else 0.0)
        best = int(np.argmax(cosines)) if cosines else -1
        if best >= 0 and cosines[best] >= similarity:
            groups[best].append(term)
        else:
            groups.append([term])
    return [set(group) for group in groups]


@settings(max_examples=60)
@given(VECTORS, st.data(), st.sampled_from([-0.9, 0.123, 0.501, 0.78, 0.95]))
def test_clusters_are_those_of_the_rule_worked_by_hand(vectors, data, similarity):
    hits = data.draw(st.lists(st.integers(1, 6), min_size=len(vectors), max_size=len(vectors)))
    embeddings = np.array(vectors, float) + 1e-3 * np.arange(3 * len(vectors)).reshape(
        -1, 3
    )  # no equal cosines
    clusters = greedy_cosine_clusters(torch.from_numpy(embeddings), hits, similarity)
    expected = by_hand(embeddings, hits, similarity)
    assert sorted(map(sorted, expected)) == sorted(sorted(cluster.terms) for cluster in clusters)
    assert [cluster.hits for cluster in clusters] == sorted(
        (sum(hits[term] for term in group) for group in expected), reverse=True
    )
    assert sum(
        purity([c, *clusters[:i], *clusters[i + 1 :]]) for i, c in enumerate(clusters)
    ) == pytest.approx(1)


def test_the_largest_cluster_is_the_one_with_most_hits_and_not_with_most_terms():
    embeddings = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    first, second = greedy_cosine_clusters(embeddings, [9, 2, 1, 1], 0.78)
    assert (first, second) == (Cluster((0,), 9), Cluster((1, 2, 3), 4))
    assert purity([first, second]) == pytest.approx(9 / 13)


def test_a_term_joins_the_nearest_founder_and_not_the_first_one_near_enough():
    embeddings = torch.tensor([[1.0, 0.0], [0.5, 0.9], [0.75, 0.66]])
    clusters = greedy_cosine_clusters(embeddings, [3, 2, 1], 0.7)
    assert [cluster.terms for cluster in clusters] == [(0,), (1, 2)]


def test_terms_that_drift_away_from_the_founder_found_a_cluster_of_their_own():
    angles = torch.deg2rad(torch.tensor([0.0, 30.0, 60.0]))
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    clusters = greedy_cosine_clusters(embeddings, [3, 2, 1], 0.8)
    assert [cluster.terms for cluster in clusters] == [(0, 1), (2,)]


def test_a_zero_embedding_is_like_nothing_and_no_terms_make_no_clusters():
    clusters = greedy_cosine_clusters(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), [2, 1], 0.5)
    assert [cluster.terms for cluster in clusters] == [(0,), (1,)]
    assert greedy_cosine_clusters(torch.zeros(0, 2), [], 0.5) == []
    assert purity([]) == 0.0
