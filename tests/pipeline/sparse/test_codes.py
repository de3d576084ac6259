"""Sparse codes looked at: one part of them, and pooled."""

import torch

from pipeline.sparse.codes import SparseCodes, pool_codes


def test_shared_only_makes_private_latents_inactive_and_leaves_the_rest() -> None:
    codes = SparseCodes(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[1, 7, 3]]))
    assert codes.shared_only(4).dense(8).tolist() == [[0, 3, 0, 1, 0, 0, 0, 0]]
    assert int(codes.shared_only(4).indices.max()) < 4


def test_pooled_codes_are_means_per_pair_and_zero_without_tokens() -> None:
    values, indices = torch.rand(5, 6).topk(2, dim=1)
    codes = SparseCodes(values, indices)
    offsets = torch.tensor([0, 2, 2, 5])
    pooled = pool_codes(codes, offsets, 6)
    for n, (start, stop) in enumerate([(0, 2), (2, 2), (2, 5)]):
        expected = codes.dense(6)[start:stop].sum(0) / max(stop - start, 1)
        torch.testing.assert_close(pooled[n], expected)
