"""The sparse encoder against dense algebra."""

import pytest
import torch
from torch import Tensor

from pipeline.sparse import encode
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.encode import sparse_autoencode, sparse_encode
from pipeline.sparse.products import gather_sum
from pipeline.sparse.top_k import Group

GROUPS = [Group(0, 5, 2), Group(5, 12, 3)]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("tokens", [0, 1, 300])
def test_scores_are_those_of_float64_with_and_without_onednn(
    tokens: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", onednn)
    centred = torch.randn(48, tokens).T  # not contiguous
    weight, bias = torch.randn(96, 48), torch.randn(96)
    found = encode._pre_activations(centred, weight, bias)
    wanted = centred.double() @ weight.double().T + bias.double()
    assert found.dtype == torch.float32
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()


def problem(requires_grad: bool = False) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(6, 4), (4,), (12, 4), (12,)]  # activations, centre, weight, bias
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(requires_grad)
        for shape in shapes
    )


@pytest.mark.parametrize("relu", [True, False])
def test_codes_are_the_dense_top_k_of_each_group(relu: bool) -> None:
    activations, centre, weight, bias = problem()
    codes = sparse_encode(activations, centre, weight, bias, GROUPS, relu)
    pre = (activations - centre) @ weight.T + bias
    expected = torch.zeros_like(pre)
    for group in GROUPS:
        part = pre[:, group.start : group.stop]
        kept = part >= part.sort(dim=1, descending=True).values[:, group.k - 1 : group.k]
        expected[:, group.start : group.stop] = kept * (part.relu() if relu else part)
    torch.testing.assert_close(codes.dense(12), expected)
    assert codes.values.shape == (6, 5)


@pytest.mark.parametrize("relu", [True, False])
def test_encoder_gradients_are_exact(relu: bool) -> None:
    arguments = problem(requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: sparse_encode(*a, GROUPS, relu).values, arguments)


@pytest.mark.parametrize("relu", [True, False])
def test_autoencoding_is_encoding_then_decoding_with_the_same_gradients(relu: bool) -> None:
    arguments, decoder = problem(requires_grad=True), torch.randn(12, 4, dtype=torch.float64).requires_grad_()
    leaves = (*arguments, decoder)
    weights = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)

    def gradients(codes: SparseCodes, combined: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((codes.values * weights[0]).sum() + (combined * weights[1]).sum(), leaves)

    codes, combined = sparse_autoencode(*arguments, decoder, GROUPS, relu)
    separate = sparse_encode(*arguments, GROUPS, relu)
    decoded = gather_sum(*separate, decoder)
    assert torch.equal(codes.values, separate.values) and torch.equal(codes.indices, separate.indices)
    assert torch.equal(combined, decoded)
    torch.testing.assert_close(gradients(codes, combined), gradients(separate, decoded))


@pytest.mark.parametrize("relu", [True, False])
def test_autoencoding_gradients_are_exact_in_codes_and_in_what_they_decode_to(relu: bool) -> None:
    decoder = torch.randn(12, 4, dtype=torch.float64).requires_grad_()

    def autoencode(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        codes, combined = sparse_autoencode(*leaves, GROUPS, relu)
        return codes.values, combined

    assert torch.autograd.gradcheck(autoencode, (*problem(requires_grad=True), decoder))


def test_values_below_zero_are_inactive_and_pass_no_gradient() -> None:
    activations = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[2.0], [-1.0], [-3.0]], requires_grad=True)
    codes = sparse_encode(activations, torch.zeros(1), weight, torch.zeros(3), [Group(0, 3, 2)], True)
    codes.values.sum().backward()
    assert codes.values.tolist() == [[2.0, 0.0]]
    assert weight.grad is not None and weight.grad.tolist() == [[1.0], [0.0], [0.0]]


def test_encoding_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = problem()
    whole = sparse_encode(*arguments, GROUPS, True)
    monkeypatch.setattr(encode, "_PRE_ACTIVATIONS_AT_ONCE", {"cpu": 24})  # two tokens
    chunked = sparse_encode(*arguments, GROUPS, True)
    assert torch.equal(whole.indices, chunked.indices)
    torch.testing.assert_close(whole.values, chunked.values)


def test_no_tokens_give_no_codes() -> None:
    _, centre, weight, bias = problem()
    codes = sparse_encode(torch.zeros(0, 4, dtype=torch.float64), centre, weight, bias, GROUPS, True)
    assert codes.values.shape == codes.indices.shape == (0, 5)


def test_ranking_under_autocast_is_in_full_precision() -> None:
    arguments = tuple(argument.float() for argument in problem())
    with torch.autocast("cpu", torch.bfloat16):
        codes = sparse_encode(*arguments, GROUPS, True)
    expected = sparse_encode(*arguments, GROUPS, True)
    assert torch.equal(codes.values, expected.values) and torch.equal(codes.indices, expected.indices)
