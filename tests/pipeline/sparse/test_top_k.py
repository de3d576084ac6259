"""Top-K against a stable sort."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sparse.top_k import Group, top_k


@given(
    scores=st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=8),
    k=st.integers(1, 6),
)
@settings(max_examples=100)
def test_top_k_takes_the_largest_and_the_lowest_column_among_equals(scores: list[list[int]], k: int) -> None:
    values, indices = top_k(torch.tensor(scores, dtype=torch.float32), [Group(0, 6, k)])
    for row, chosen, kept in zip(scores, indices.tolist(), values.tolist(), strict=True):
        expected = sorted(range(6), key=lambda column: (-row[column], column))[:k]
        assert sorted(chosen) == sorted(expected)
        assert kept == [row[column] for column in chosen]


@given(seed=st.integers(0, 999), width=st.sampled_from([64, 72, 100, 1024]), k=st.integers(1, 72))
@settings(max_examples=60)
def test_top_k_of_wide_rows_with_many_ties_is_that_of_a_stable_sort(seed: int, width: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (5, width), generator=generator).float()
    k = min(k, width)
    scores[0] = torch.randn(width, generator=generator)
    scores[1, ::3] = -torch.inf
    values, indices = top_k(scores, [Group(0, width, k)])
    expected = scores.sort(dim=1, descending=True, stable=True)
    torch.testing.assert_close(values, expected.values[:, :k], rtol=0, atol=0)
    assert torch.equal(indices.sort().values, expected.indices[:, :k].sort().values)


def test_top_k_of_all_equal_scores_is_the_first_columns_also_in_wide_rows() -> None:
    _, indices = top_k(torch.ones(3, 5000), [Group(0, 5000, 16)])
    assert indices.sort().values.tolist() == [list(range(16))] * 3
