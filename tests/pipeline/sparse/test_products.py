"""The sparse products and their gradients against dense matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import gather_sum, order_by_latent, sampled_dot, scatter_sum


def random_codes(tokens: int, k: int, width: int, seed: int = 0) -> SparseCodes:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(tokens, width, generator=generator, dtype=torch.float64)
    values, indices = scores.topk(k, dim=1)
    return SparseCodes(values * (values > 0.5), indices)


def dense(codes: SparseCodes, width: int) -> Tensor:
    """Written out with a loop, independently of `SparseCodes.dense`."""
    rows = torch.zeros(len(codes.values), width, dtype=codes.values.dtype)
    for t, (values, indices) in enumerate(zip(codes.values, codes.indices, strict=True)):
        for value, index in zip(values, indices, strict=True):
            rows[t, index] = rows[t, index] + value
    return rows


@given(tokens=st.integers(0, 8), k=st.integers(1, 4), channels=st.integers(1, 5), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_gather_sum_and_scatter_sum_are_the_dense_products(
    tokens: int, k: int, channels: int, seed: int
) -> None:
    codes = random_codes(tokens, k, 6, seed)
    matrix = dense(codes, 6)
    table, rows = (
        torch.randn(6, channels, dtype=torch.float64),
        torch.randn(tokens, channels, dtype=torch.float64),
    )
    torch.testing.assert_close(gather_sum(*codes, table), matrix @ table)
    torch.testing.assert_close(scatter_sum(*codes, rows, 6), matrix.T @ rows)
    torch.testing.assert_close(codes.dense(6), matrix)


@pytest.mark.parametrize("tokens", [5, 0])
def test_both_products_have_exact_gradients_in_values_and_matrices(tokens: int) -> None:
    codes = random_codes(tokens, 3, 6)
    values = codes.values.clone().requires_grad_()
    table = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(tokens, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, t: gather_sum(v, codes.indices, t), (values, table))
    assert torch.autograd.gradcheck(lambda v, r: scatter_sum(v, codes.indices, r, 6), (values, rows))


@pytest.mark.parametrize(("tokens", "height"), [(5, 40), (40, 5), (0, 6)])
def test_inner_products_are_the_same_bits_in_the_order_of_latents_as_in_that_of_tokens(
    tokens: int, height: int
) -> None:
    indices = random_codes(tokens, 3, height).indices
    table, rows = torch.randn(height, 20), torch.randn(tokens, 20)
    found = sampled_dot(table, indices, rows, order_by_latent(indices, height))
    assert torch.equal(found, sampled_dot(table, indices, rows))
    wanted = (rows.double() @ table.double().T).gather(1, indices)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)


def test_gradients_survive_rows_that_are_not_contiguous() -> None:
    codes = random_codes(5, 3, 6)
    values = codes.values.clone().requires_grad_()
    gather_sum(
        values, codes.indices, torch.ones(6, 4, dtype=torch.float64)
    ).sum().backward()  # an expanded gradient
    torch.testing.assert_close(values.grad, torch.full_like(values, 4.0))
