"""The loss against shared latents that answer for everything."""

import pytest
import torch

from pipeline.sae.balance import LatentFrequency, balance_loss
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.pairs import Pairs
from pipeline.sparse.codes import pool_codes
from pipeline.training.options import TrainOptions
from pipeline.training.step import TrainingStep

EVERY = torch.ones(8, dtype=torch.bool)


def drawn(items: int = 8, latents: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(items, latents, generator=torch.Generator().manual_seed(seed)).relu()


def test_the_frequency_is_the_running_share_of_items_that_a_latent_is_among_the_strongest_of() -> None:
    clock, expected = LatentFrequency(6), [0.0] * 6
    mask = torch.tensor([True, True, True, False, True, True, False, True])
    for seed in range(5):
        pooled = drawn(seed=seed)
        clock.record(pooled, 2, mask)
        strongest = [
            {m for m in range(6) if row[m] > 0 and sum(other > row[m] for other in row) < 2}
            for row, there in zip(pooled.tolist(), mask.tolist(), strict=True)
            if there
        ]
        shares = [sum(m in few for few in strongest) / len(strongest) for m in range(6)]
        expected = [0.95 * old + 0.05 * new for old, new in zip(expected, shares, strict=True)]
    assert clock.frequency.tolist() == pytest.approx(expected)


def test_the_loss_is_the_share_of_the_codes_that_too_frequent_latents_have_times_their_excess() -> None:
    pooled, frequency = drawn(), torch.tensor([0.9, 0.5, 0.3, 0.25, 0.1, 0.0])
    excess = [0.65, 0.25, 0.05, 0, 0, 0]
    columns = pooled.double().sum(dim=0).tolist()
    expected = sum(one * column for one, column in zip(excess, columns, strict=True)) / sum(columns)
    assert float(balance_loss(pooled, frequency, 0.25)) == pytest.approx(expected)


def test_only_too_frequent_latents_are_weakened() -> None:
    pooled = drawn().requires_grad_()
    balance_loss(pooled, torch.tensor([0.9, 0.5, 0.3, 0.25, 0.1, 0.0]), 0.25).backward()
    gradient = pooled.grad
    assert gradient is not None
    assert (gradient >= 0).all()
    assert (gradient[:, 3:] == 0).all()
    assert (gradient[:, 0] > gradient[:, 1]).any()


def test_codes_that_say_nothing_have_no_loss() -> None:
    assert float(balance_loss(torch.zeros(8, 6), torch.ones(6), 0.25)) == 0


def test_trained_with_it_no_latent_answers_for_everything() -> None:
    """What all items have in common is then left to private latents."""

    def largest_frequency(weight: float) -> float:
        options = {"alignment": "none", "gamma": 0, "balance": {"weight": weight}}
        sizes = {"latents": 24, "shared_ratio": 0.5, "k_shared": 2, "k_private": 2}
        sae = LucidSAE(LucidOptions.model_validate(sizes | options), 6, 6, seed=1)
        step = TrainingStep(sae, TrainOptions(learning_rate=0.03, warmup_steps=1))
        generator = torch.Generator().manual_seed(3)
        concepts = 4 + torch.randn(8, 6, generator=generator)
        watch = LatentFrequency(12)
        for _ in range(60):
            shown = concepts[torch.randint(8, (16,), generator=generator)]
            step(Pairs(shown[:, None].expand(-1, 2, -1), shown, torch.arange(17)))
        watch.record(
            pool_codes(sae.encode("text", shown, "shared"), torch.arange(17), 12),
            2,
            torch.ones(16, dtype=torch.bool),
        )
        return float(watch.frequency.max()) / 0.05

    assert largest_frequency(0) > 0.9
    assert largest_frequency(3) < 0.7
