"""Monosemanticity in linear time against the mean over all pairs of items, and the share of energy of either side."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import ActivationCache
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.items import read_items
from pipeline.metrics.judge import CachedJudge
from pipeline.metrics.modality import ModalityMeter, modality_score
from pipeline.metrics.monosemanticity import (
    MonosemanticityMeter,
    TrueConcepts,
    WeightedSums,
    joint_monosemanticity,
    monosemanticity,
)
from pipeline.metrics.not_defined import NotDefined
from pipeline.sae.base import SparseAutoencoder

from .axis_world import CHANNELS, Scene, Thing, axis_sae, random_scenes

BuildCache = Callable[..., ActivationCache]


def sums_of(codes: np.ndarray, embeddings: np.ndarray, step: int = 4) -> WeightedSums:
    sums = WeightedSums(codes.shape[1], embeddings.shape[1])
    for start in range(0, len(codes), step):
        sums.update(codes[start : start + step], embeddings[start : start + step])
    return sums


def items(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sparse codes, embeddings, and these with unit length."""
    generator = np.random.default_rng(seed)
    codes = generator.random((count, 5)) * (generator.random((count, 5)) < 0.6)
    embeddings = generator.standard_normal((count, 3))
    return codes, embeddings, embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(1e-3, 1e3))
def test_it_is_the_mean_cosine_of_all_pairs_of_items_weighted_by_their_rescaled_codes(
    seed: int, count: int, scale: float
) -> None:
    codes, embeddings, units = items(seed, count)
    found = monosemanticity(sums_of(scale * codes, embeddings))
    for latent, column in enumerate(codes.T):
        if (column > 0).sum() < 2:
            assert np.isnan(found[latent])
        elif column.min() == 0:
            weight = (column - column.min()) / (column.max() - column.min())
            pairs = [(i, j) for i in range(count) for j in range(i)]
            weights = [weight[i] * weight[j] for i, j in pairs]
            assert found[latent] == pytest.approx(
                np.average([units[i] @ units[j] for i, j in pairs], weights=weights)
            )


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8))
def test_of_both_sides_it_is_the_mean_over_all_images_with_all_captions(
    seed: int, images: int, captions: int
) -> None:
    (z, e, u), (y, f, v) = items(seed, images), items(seed + 1, captions)
    found = joint_monosemanticity(sums_of(z, e), sums_of(y, f))
    for latent in range(5):
        weights = np.outer(z[:, latent], y[:, latent])
        if weights.any():
            assert found[latent] == pytest.approx(np.average(u @ v.T, weights=weights))
        else:
            assert np.isnan(found[latent])


def test_items_that_the_judge_says_nothing_of_do_not_count() -> None:
    codes, embeddings, _ = items(0, 6)
    more = np.concatenate([embeddings, np.zeros((1, 3)), np.full((1, 3), np.nan)])
    found = monosemanticity(sums_of(np.concatenate([codes, np.ones((2, 5))]), more))
    assert found == pytest.approx(monosemanticity(sums_of(codes, embeddings)), nan_ok=True)


def measure(cache: ActivationCache, sae: SparseAutoencoder) -> tuple[dict, dict]:
    """Figures of monosemanticity and of modality."""
    shown, judge = read_items(cache), CachedJudge(cache, cache, 16)
    meters = (
        MonosemanticityMeter(shown, sae.shared_width, TrueConcepts(cache), judge, "max"),
        ModalityMeter(shown, sae.shared_width, "max"),
    )
    with torch.inference_mode():
        for batch in cache.iterate(7):
            encoded = encode_batch(sae, batch, torch.device("cpu"))
            for meter in meters:
                meter.update(encoded)
    first, second = (meter.result() for meter in meters)
    return first, second


def shifted_sae() -> SparseAutoencoder:
    """The perfect dictionary, but the text side's latents stand for other nouns than those of vision."""
    sae = axis_sae()
    order = torch.roll(torch.arange(CHANNELS), 1)
    order[:5] = torch.tensor([1, 2, 3, 4, 0])
    sae.reindex("text", torch.cat([order[:5], torch.arange(5, CHANNELS)]))
    return sae


def test_latents_of_one_noun_are_monosemantic_and_those_of_two_are_not_jointly(
    build_cache: BuildCache,
) -> None:
    cache = build_cache(random_scenes(40, seed=0))
    found, modality = measure(cache, axis_sae())
    assert found["concepts"] == 5
    assert found["latents"] == {"vision": 5, "text": 5, "both": 5}
    assert found["always"]["vision"] == 1 and found["never"]["vision"] == CHANNELS - 6
    for side in ("vision", "text", "both"):
        assert found[side] > found["even"][side] + 0.3
    assert modality["bimodal"] > 0.8
    other, _ = measure(cache, shifted_sae())
    assert other["vision"] == found["vision"] and other["text"] == pytest.approx(found["text"])
    assert other["both"] < found["both"] - 0.3


def test_without_stated_concepts_the_judge_decides(build_cache: BuildCache) -> None:
    scenes = [Scene(scene.things, scene.captions, truth=False) for scene in random_scenes(20, seed=0)]
    found, _ = measure(build_cache(scenes), axis_sae())
    assert found["concepts"] == 0 and found["both"] > found["even"]["both"]


def test_a_side_with_one_item_has_no_pairs_of_items(build_cache: BuildCache) -> None:
    scene = Scene([Thing("boat", range(0, 2), range(0, 2))], ["a boat"])
    found, _ = measure(build_cache([scene]), axis_sae())
    assert isinstance(found["vision"], NotDefined) and isinstance(found["even"]["vision"], NotDefined)


def test_a_latent_that_one_side_alone_uses_is_not_bimodal() -> None:
    assert modality_score(np.array([1.0, 0.0, 1.0]), np.array([0.0, 2.0, 3.0])).tolist() == [1.0, 0.0, 0.25]
