"""The distance activation and its encoders: closed forms, gradients against float64, the triangle inequality."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pipeline.sae.vl_sae.encoder import Encoder, distance_activation, unit_rows

LATENTS, CHANNELS = 12, 5


def encoder(kind: str = "distance", dtype: torch.dtype = torch.float64, latents: int = LATENTS) -> Encoder:
    return Encoder(kind, latents, CHANNELS, torch.Generator().manual_seed(0)).to(dtype)


def random_rows(count: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, CHANNELS, generator=generator, dtype=torch.float64).to(dtype)


def plain_distance(x: Tensor, w: Tensor) -> Tensor:
    """`2 - |x / |x| - w / |w||`, one difference at a time."""
    x, w = x / x.norm(dim=1, keepdim=True), w / w.norm(dim=1, keepdim=True)
    return 2 - (x[:, None] - w[None]).norm(dim=2)


def at_angle(radians: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two rows, neither of unit length, at this angle."""
    x = torch.tensor([[3.0, 0.0, 0.0]], dtype=torch.float64)
    w = 0.5 * torch.tensor([[math.cos(radians), math.sin(radians), 0.0]], dtype=torch.float64)
    return x.to(dtype), w.to(dtype)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(0, 2.0), (60, 1.0), (90, 2 - math.sqrt(2)), (120, 2 - math.sqrt(3)), (180, 0.0)],
)
def test_the_activation_at_known_angles(degrees: float, expected: float) -> None:
    cosine = torch.tensor(math.cos(math.radians(degrees)), dtype=torch.float64)
    assert distance_activation(cosine).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_activation_stays_in_its_range_where_rounding_puts_the_cosine_outside(dtype: torch.dtype) -> None:
    beyond = torch.finfo(dtype).eps * torch.arange(-4, 5)
    values = distance_activation(torch.cat([1 + beyond, -1 + beyond]).to(dtype))
    assert values.min() == 0 and values.max() == 2


@given(arrays(np.float64, (3, CHANNELS), elements=st.floats(-10, 10)))
def test_activations_of_two_inputs_differ_by_no_more_than_their_directions(rows: np.ndarray) -> None:
    x, y, w = unit_rows(torch.from_numpy(rows))
    difference = distance_activation(x @ w) - distance_activation(y @ w)
    rounding = 1e-7  # the root of float64's
    if x.any() and y.any() and w.any():  # a zero vector has no direction
        assert difference.abs() <= (x - y).norm() + rounding


def test_values_and_gradients_are_those_of_the_plain_distance() -> None:
    every = encoder()
    x = random_rows(7).requires_grad_()
    weights = random_rows(7, seed=2) @ random_rows(LATENTS, seed=3).T
    dense = every.encode(x, LATENTS).dense(LATENTS)
    (dense * weights).sum().backward()
    w, y = every.weight.detach().clone().requires_grad_(), x.detach().clone().requires_grad_()
    expected = plain_distance(y, w)
    (expected * weights).sum().backward()
    torch.testing.assert_close(dense, expected)
    torch.testing.assert_close(every.weight.grad, w.grad)
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("radians", [1e-1, 1e-2, 5e-3])
def test_gradients_close_to_a_latent_agree_with_float64(radians: float) -> None:
    gradients = []
    for dtype in (torch.float32, torch.float64):
        x, w = at_angle(radians, dtype)
        w.requires_grad_()
        value = (
            distance_activation(unit_rows(x) @ unit_rows(w).T)
            if dtype == torch.float32
            else plain_distance(x, w)
        )
        value.sum().backward()
        gradients.append(w.grad.double())
    torch.testing.assert_close(*gradients, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radians", [0.0, *(10.0**-power for power in range(3, 12))])
def test_gradients_at_a_latent_are_bounded_however_close(radians: float, dtype: torch.dtype) -> None:
    x, w = at_angle(radians, dtype)
    length = w.norm()
    w.requires_grad_()
    distance_activation(unit_rows(x) @ unit_rows(w).T).sum().backward()
    assert (w.grad * length).norm() < 2


def test_an_input_that_is_a_latent_has_activation_two_and_moves_nothing() -> None:
    every = encoder(dtype=torch.float32)
    codes = every.encode(4 * every.weight.detach(), 1)
    assert codes.indices.flatten().tolist() == list(range(LATENTS))
    codes.values.sum().backward()
    torch.testing.assert_close(codes.values, torch.full((LATENTS, 1), 2.0), rtol=0, atol=1e-3)
    assert every.weight.grad.isfinite().all() and every.weight.grad.norm() < 0.1


@pytest.mark.parametrize("kind", ["distance", "cosine"])
def test_zero_inputs_and_zero_latents_are_at_right_angles_to_everything(kind: str) -> None:
    every = encoder(kind)
    with torch.no_grad():
        every.weight[3] = 0
    x = torch.cat([torch.zeros(1, CHANNELS), random_rows(2)]).double().requires_grad_()
    dense = every.encode(x, LATENTS).dense(LATENTS)
    right = 2 - math.sqrt(2) if kind == "distance" else 0.0
    torch.testing.assert_close(dense[0], torch.full((LATENTS,), right, dtype=torch.float64))
    torch.testing.assert_close(dense[:, 3], torch.full((3,), right, dtype=torch.float64))
    dense.sum().backward()
    assert not x.grad[0].any() and not every.weight.grad[3].any()
    assert x.grad.isfinite().all() and every.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["distance", "cosine", "affine"])
def test_the_lowest_of_equal_latents_is_kept(kind: str) -> None:
    every = encoder(kind)
    with torch.no_grad():
        every.weight[:] = every.weight[0]
        if every.bias is not None:
            every.bias.zero_()
    codes = every.encode(random_rows(4), 3)
    assert codes.indices.sort(dim=1).values.tolist() == [[0, 1, 2]] * 4


@pytest.mark.parametrize("kind", ["distance", "cosine"])
def test_lengths_of_inputs_and_latents_do_not_matter(kind: str) -> None:
    every, x = encoder(kind), random_rows(6)
    before = every.encode(x, 4)
    with torch.no_grad():
        every.weight *= torch.linspace(0.1, 9, LATENTS)[:, None]
    after = every.encode(x * 7, 4)
    assert torch.equal(before.indices, after.indices)
    torch.testing.assert_close(before.values, after.values)


@pytest.mark.parametrize("kind", ["cosine", "affine"])
def test_ablated_encoders_are_what_they_say(kind: str) -> None:
    every, x = encoder(kind), random_rows(6)
    if kind == "affine":
        expected = torch.relu(x @ every.weight.T + every.bias)
    else:
        expected = torch.cosine_similarity(x[:, None], every.weight[None], dim=2).relu()
    torch.testing.assert_close(every.encode(x, LATENTS).dense(LATENTS), expected)


def test_weights_are_drawn_as_torch_draws_a_linear_layer() -> None:
    weight = Encoder("distance", 400, 64, torch.Generator().manual_seed(0)).weight
    assert weight.abs().max() <= 64**-0.5
    assert weight.std().item() == pytest.approx((1 / (3 * 64)) ** 0.5, rel=0.02)
