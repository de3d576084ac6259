"""Principal components as a dictionary that nothing trains: a control, and what training may begin with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.errors import ConfigError
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.saving import load_sae
from pipeline.sae.sides import SIDES, Side
from pipeline.training.fit import Training, fit_run
from pipeline.training.options import TrainOptions

CHANNELS, ACTIVE = 8, 3
PCA = LucidOptions(
    latents=2 * CHANNELS,
    shared_ratio=1.0,
    k_shared=ACTIVE - 1,
    k_private=1,
    start="components",
    matching={"separate_epochs": 0},
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    activations = synthetic_activations(images=40, shard_images=16, channels=CHANNELS)
    return write_cache(tmp_path_factory.mktemp("principal") / "train.zarr", activations)


def rows(sae: SparseAutoencoder, cache: ActivationCache, side: Side) -> torch.Tensor:
    pairs = sae.reader.pairs(cache.read_pairs(range(cache.pairs)))
    mask = pairs.mask(side)
    return pairs.rows(side) if mask is None else pairs.rows(side)[mask]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("centring", ["global", "position"])
def test_the_directions_are_the_components_of_what_is_read_with_both_signs(
    cache: ActivationCache, side: Side, centring: str
) -> None:
    sae = initial_sae(PCA.model_copy(update={"centring": centring}), cache, seed=0)
    read = rows(sae, cache, side).double().numpy()
    components = np.linalg.svd(read - read.mean(axis=0), full_matrices=False)[2]
    found = sae.directions(side).detach().double().numpy()
    np.testing.assert_allclose(found[0::2], -found[1::2])
    np.testing.assert_allclose(np.abs((found[0::2] * components).sum(axis=1)), 1, atol=1e-5)


@pytest.mark.parametrize("side", SIDES)
def test_a_token_is_rebuilt_from_its_largest_projections(cache: ActivationCache, side: Side) -> None:
    sae = initial_sae(PCA, cache, seed=0)
    read = rows(sae, cache, side)
    mean = read.double().numpy().mean(axis=0)
    components = np.linalg.svd(read.double().numpy() - mean, full_matrices=False)[2]
    projected = (read.double().numpy() - mean) @ components.T
    kept = np.where(np.argsort(np.argsort(-np.abs(projected))) < ACTIVE, projected, 0)
    rebuilt = sae.decode(side, sae.encode(side, read)).detach().double().numpy()
    np.testing.assert_allclose(rebuilt, kept @ components + mean, atol=1e-3)


def test_untrained_components_are_matched_on_training_pairs_and_saved(
    cache: ActivationCache, tmp_path: Path
) -> None:
    training = Training(PCA, TrainOptions(epochs=0, batch_pairs=8, device="cpu"))
    matched = fit_run(cache, training, tmp_path / "pca", lambda done, total: None)
    start = initial_sae(PCA, cache, seed=0)
    for side in SIDES:
        found, expected = matched.directions(side), start.directions(side)
        order = (found @ expected.T).argmax(dim=1)
        assert sorted(order.tolist()) == list(range(2 * CHANNELS))
        torch.testing.assert_close(found, expected[order])
    assert matched.confidence[0] > 0
    assert matched.confidence.diff().le(1e-6).all()
    torch.testing.assert_close(load_sae(tmp_path / "pca").confidence, matched.confidence)


def test_more_latents_than_components_have_signs_are_refused(cache: ActivationCache) -> None:
    with pytest.raises(
        ConfigError, match=r"sae\.latents: 17 is more than the 16 that 8 principal components"
    ):
        initial_sae(PCA.model_copy(update={"latents": 17}), cache, seed=0)


def test_components_of_whitened_activations_are_refused() -> None:
    with pytest.raises(ConfigError, match="start: components are directions of what is read"):
        LucidOptions.parse({"start": "components", "whitening": {}}, "sae")
