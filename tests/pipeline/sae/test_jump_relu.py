import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.jump_relu import JumpReLU
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import JumpReLUOptions, LatentOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.registry import build_sae
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group, top_k
from pipeline.training.options import TrainOptions
from pipeline.training.step import TrainingStep

CHANNELS, LATENTS, TOKENS = 8, 40, 200
GROUPS = [Group(0, 12, 2), Group(12, LATENTS, 3)]
ALL_ARE_CANDIDATES = JumpReLUOptions(cap=20, bandwidth=0.5)
JUMP = {"activation": "jump_relu", "jump_relu": JumpReLUOptions(batches_in_common=20)}
RECIPES: dict[str, LatentOptions] = {
    "lucid": LucidOptions(
        latents=40, shared_ratio=0.3, k_shared=2, k_private=3, alignment="none", gamma=0, **JUMP
    ),
    "vl_sae": VLSAEOptions(latents=24, k=3, encoder="affine", shared_encoder=False, inputs="tokens", **JUMP),
    "distance": VLSAEOptions(latents=24, k=3, shared_encoder=False, inputs="tokens", **JUMP),
}


def scores(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(TOKENS, LATENTS, generator=generator, dtype=torch.float64).relu()


def candidates(jump: JumpReLU, dense: Tensor) -> SparseCodes:
    return SparseCodes(*top_k(dense, jump.candidates(GROUPS)))


def with_thresholds(thresholds: Tensor, bandwidths: Tensor) -> JumpReLU:
    jump = JumpReLU(LATENTS, ALL_ARE_CANDIDATES).double()
    jump.log_thresholds.data.copy_(thresholds.log())
    jump.bandwidths.copy_(bandwidths)
    jump.batches.fill_(ALL_ARE_CANDIDATES.batches_in_common)
    return jump


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), masked=st.booleans())
def test_gradients_are_the_papers_estimator(seed: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    dense, weights = scores(seed), torch.randn(TOKENS, LATENTS, generator=generator, dtype=torch.float64)
    thresholds, bandwidths = torch.rand(2, LATENTS, generator=generator, dtype=torch.float64) + 0.2
    mask = torch.rand(TOKENS, generator=generator) < 0.7 if masked else torch.ones(TOKENS, dtype=torch.bool)
    jump = with_thresholds(thresholds, bandwidths)
    codes = candidates(jump, dense)
    values = codes.values.requires_grad_()
    found = jump.of_batch(SparseCodes(values, codes.indices), GROUPS, mask if masked else None)
    (found.codes.dense(LATENTS) * weights).sum().add(found.budget_error).backward()

    dense = dense * mask[:, None]
    active = dense > thresholds
    torch.testing.assert_close(found.codes.dense(LATENTS), dense * active)
    kernel = ((dense - thresholds).abs() / bandwidths < 0.5) & (dense > 0)
    by_threshold = (-thresholds / bandwidths * kernel * weights).sum(dim=0)  # of the codes, equation 11
    error = torch.zeros((), dtype=torch.float64)
    for start, stop, k in GROUPS:
        part = slice(start, stop)
        relative = active[:, part].double().sum() / mask.sum() / k - 1
        error += relative.square()
        by_score = 2 * relative / k / mask.sum()
        by_threshold[part] += (kernel[:, part] / -bandwidths[part] * by_score).sum(dim=0)  # of L0, 12
    torch.testing.assert_close(found.budget_error, error)
    torch.testing.assert_close(jump.log_thresholds.grad, by_threshold * thresholds)
    torch.testing.assert_close(values.grad, (weights * active).gather(1, codes.indices))


def test_the_estimator_finds_how_an_expectation_changes_by_the_threshold() -> None:
    uniform = torch.rand(20_000, LATENTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    jump = with_thresholds(torch.full((LATENTS,), 0.8), torch.full((LATENTS,), 0.3))
    found = jump.of_batch(candidates(jump, uniform), GROUPS)
    (found.codes.values.sum() / len(uniform)).backward()
    expected = torch.full(
        (LATENTS,), -0.8 * 0.8 / 2, dtype=torch.float64
    )  # of the integral of z / 2 from 0.8 to 2
    torch.testing.assert_close(jump.log_thresholds.grad, expected, rtol=0.1, atol=0)


def test_at_first_thresholds_are_in_common_and_every_batch_meets_its_budgets() -> None:
    jump, mask = JumpReLU(LATENTS, ALL_ARE_CANDIDATES).double(), torch.arange(TOKENS) < 120
    for seed in range(ALL_ARE_CANDIDATES.batches_in_common):
        found = jump.of_batch(candidates(jump, scores(seed)), GROUPS, mask)
        jump.log_thresholds.data += 1e-3 * torch.randn(LATENTS)  # as a step of the optimiser does
        dense = found.codes.dense(LATENTS)
        for start, stop, k in GROUPS:
            assert (dense[:, start:stop] > 0).sum().item() == k * 120 - 1  # the smallest is the threshold
    learned = jump.log_thresholds.detach().clone()
    jump.of_batch(candidates(jump, scores(-1)), GROUPS, mask)
    assert torch.equal(jump.log_thresholds, learned) and learned.unique().numel() == LATENTS


def test_without_enough_codes_above_0_thresholds_are_above_it() -> None:
    jump = JumpReLU(LATENTS, ALL_ARE_CANDIDATES)
    jump.of_batch(candidates(jump, torch.zeros(3, LATENTS)), GROUPS)
    assert jump.log_thresholds.isfinite().all() and (jump.bandwidths > 0).all()


def concepts(seed: int) -> Pairs:
    """Pairs whose patches and tokens are sums of concepts; some have more of them than others."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(24, CHANNELS, generator=torch.Generator().manual_seed(0))
    rows = (torch.rand(256, 24, generator=generator) < 0.15).float() @ directions
    return Pairs(rows.view(64, 4, CHANNELS), rows, torch.arange(65) * 4)


def test_learning_brings_the_mean_number_of_active_latents_back_to_the_budget() -> None:
    sae = build_sae(RECIPES["vl_sae"], CHANNELS, CHANNELS)
    step = TrainingStep(sae, TrainOptions())
    step.set_learning_rate(2e-2)
    for seed in range(20):
        step(concepts(seed))
    for side in SIDES:
        sae.jump_relu[side].log_thresholds.data.add_(torch.tensor(0.6).log())
    before = relative_errors(sae)
    for seed in range(20, 90):
        step.set_learning_rate(2e-2 if seed < 60 else 4e-3)
        step(concepts(seed))
    assert before.min() > 0.25
    assert relative_errors(sae).abs().max() < 0.1  # without the penalty 1.14


@torch.no_grad()
def relative_errors(sae: SparseAutoencoder) -> Tensor:
    """How far the active latents of new pairs are from the budget, by side, as a share of it."""
    pairs, errors = [concepts(seed) for seed in range(1000, 1008)], []
    for side in SIDES:
        rows = torch.cat([one.rows(side) for one in pairs])
        errors.append((sae.encode(side, rows).values > 0).sum() / len(rows) / sae.options.k - 1)
    return torch.stack(errors)


@pytest.mark.parametrize("recipe", RECIPES)
def test_thresholds_follow_their_latents(recipe: str) -> None:
    sae, latents = build_sae(RECIPES[recipe], CHANNELS, CHANNELS), RECIPES[recipe].latents
    pairs, generator = concepts(0), torch.Generator().manual_seed(1)
    sae.losses(pairs)
    for side in SIDES:
        rows, log_thresholds = pairs.rows(side), sae.jump_relu[side].log_thresholds
        log_thresholds.data += torch.rand(latents, generator=generator)
        before = sae.encode(side, rows).dense(latents)
        order = torch.arange(latents)
        order[:10] = order[:10].flip(0)  # within the shared part, whose budget has the same latents then
        sae.reindex(side, order)
        torch.testing.assert_close(sae.encode(side, rows).dense(latents), before[:, order])
