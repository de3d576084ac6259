"""Correlations of patches with tokens, weighted by a plan, against a list of every patch with every token."""

import numpy as np
import pytest
import torch

from pipeline.matching.coactivation import CoActivation
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.plan import TransportPlan, token_places

PATCHES, LATENTS, DEAD = 5, 9, 4
CAPTIONS = ([3, 0, 4], [1, 2])
"""Tokens of the captions of two batches; one caption is empty."""


def drawn(lengths: list[int], generator: torch.Generator) -> tuple[TransportPlan, SparseCodes, SparseCodes]:
    """A plan whose pairs have mass 1, or 0 where the caption is empty, and codes in which one latent is dead."""
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    places = token_places(offsets, int(offsets[-1]))
    plan = torch.rand(len(lengths), PATCHES, max(lengths), generator=generator) * places.valid[:, None]
    plan = plan / plan.sum(dim=(1, 2), keepdim=True).clamp_min(1e-9)
    sides = []
    for rows in (len(lengths) * PATCHES, sum(lengths)):
        order = torch.rand(rows, LATENTS - 1, generator=generator).argsort(dim=1)[:, :3]
        values = torch.randn(rows, 3, generator=generator).relu()
        sides.append(SparseCodes(values, order + (order >= DEAD)))
    return TransportPlan(plan, places), *sides


def brute_force(batches: list[tuple[TransportPlan, SparseCodes, SparseCodes]]) -> np.ndarray:
    weights, left, right = [], [], []
    for plan, vision, text in batches:
        patches, tokens = vision.dense(LATENTS).double(), text.dense(LATENTS).double()
        for token, (pair, place) in enumerate(zip(plan.tokens.pair, plan.tokens.place, strict=True)):
            for patch in range(PATCHES):
                weights.append(float(plan.plan[pair, patch, place]))
                left.append(patches[pair * PATCHES + patch].numpy())
                right.append(tokens[token].numpy())
    both = np.cov(np.array(left).T, np.array(right).T, aweights=weights, ddof=0)
    deviations = np.sqrt(both.diagonal())
    correlation = (
        both
        / np.where(deviations > 0, deviations, np.inf)
        / np.where(deviations > 0, deviations, np.inf)[:, None]
    )
    return correlation[:LATENTS, LATENTS:]


@pytest.mark.parametrize("seed", range(3))
def test_by_a_plan_it_is_the_weighted_correlation_of_patches_with_tokens_whatever_the_batches(
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    batches = [drawn(lengths, generator) for lengths in CAPTIONS]
    moments = CoActivation(LATENTS, LATENTS, torch.device("cpu"))
    for batch in batches:
        moments.update_through(*batch)
    np.testing.assert_allclose(moments.correlation(), brute_force(batches), atol=1e-6)
    vision, text = moments.fired()
    assert not vision[DEAD] and not text[DEAD] and vision.any() and text.any()


def test_what_no_caption_meets_does_not_count_as_fired() -> None:
    plan, vision, text = drawn([0, 2], torch.Generator().manual_seed(0))
    vision.values[:PATCHES] = 1  # of the picture without a caption
    vision.indices[:PATCHES] = torch.tensor([0, 1, 2])
    vision.values[PATCHES:] = 0
    moments = CoActivation(LATENTS, LATENTS, torch.device("cpu"))
    moments.update_through(plan, vision, text)
    assert not moments.fired()[0].any()
