"""The contrast of a batch's pairs by their pooled codes."""

import math

import pytest
import torch

from pipeline.sae.contrast import pooled_contrast
from pipeline.sparse.codes import SparseCodes, max_pool_codes

SCALE = 5.0


def codes(pairs: int = 6, latents: int = 10, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vision, text = (torch.randn(pairs, latents, generator=generator).relu() for _ in range(2))
    return vision, text


def reference(vision: torch.Tensor, text: torch.Tensor) -> float:
    """Written out pair by pair, in float64."""
    sides = []
    for side in (vision.double(), text.double()):
        variance = side.var(dim=0, correction=0)
        standard = (side - side.mean(dim=0)) / (variance + variance.mean()).sqrt()
        sides.append([row / row.norm() for row in standard])
    total, pairs = 0.0, len(vision)
    for one, other in (sides, sides[::-1]):
        for i in range(pairs):
            scores = [float(SCALE * one[i] @ other[j]) for j in range(pairs)]
            total -= scores[i] - math.log(sum(map(math.exp, scores)))
    return total / (2 * pairs)


def test_it_is_infonce_both_ways() -> None:
    vision, text = codes()
    everything = torch.ones(len(vision), dtype=torch.bool)
    assert float(pooled_contrast(vision, text, everything, SCALE)) == pytest.approx(reference(vision, text))


def test_a_pair_without_a_caption_neither_asks_nor_answers() -> None:
    vision, text = codes()
    captioned = torch.tensor([True, True, False, True, True, False])
    expected = reference(vision[captioned], text[captioned])
    assert float(pooled_contrast(vision, text, captioned, SCALE)) == pytest.approx(expected)


def test_pairs_that_match_lose_less_than_deranged_ones() -> None:
    vision, _ = codes()
    everything = torch.ones(len(vision), dtype=torch.bool)
    matched = pooled_contrast(vision, vision, everything, SCALE)
    deranged = pooled_contrast(vision, vision.roll(1, dims=0), everything, SCALE)
    assert matched < 0.5 * deranged


@pytest.mark.parametrize("pairs", [1, 6])
def test_codes_that_say_nothing_have_a_finite_loss_and_no_gradient(pairs: int) -> None:
    vision = torch.zeros(pairs, 4, requires_grad=True)
    loss = pooled_contrast(vision, torch.ones(pairs, 4), torch.ones(pairs, dtype=torch.bool), SCALE)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(pairs)) and not vision.grad.any()


def test_the_gradient_of_the_largest_code_goes_to_the_token_that_has_it() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 0.5], [4.0, 1.0]], requires_grad=True)
    indices = torch.tensor([[0, 1], [0, 2], [1, 0]])
    pooled = max_pool_codes(SparseCodes(values, indices), torch.tensor([0, 0, 1]), 2, 3)
    assert pooled.tolist() == [[3, 2, 0.5], [1, 4, 0]]
    pooled.sum().backward()
    assert values.grad.tolist() == [[0, 1], [1, 1], [1, 1]]
