from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions
from pipeline.training.step import TrainingStep

CHANNELS, SHRINKAGE = 6, 0.01
WHITENING = {"whitening": {"shrinkage": SHRINKAGE}}
LUCID = LucidOptions(latents=24, shared_ratio=0.5, k_shared=2, k_private=2, **WHITENING)
SAE_D = VLSAEOptions(latents=24, k=4, encoder="affine", shared_encoder=False, inputs="tokens", **WHITENING)
RECIPES: dict[str, ArchitectureOptions] = {
    "lucid": LUCID,
    "uncentred": LUCID.model_copy(update={"subtract_decoder_bias": False}),
    "position": LUCID.model_copy(update={"centring": "position"}),
    "batch_top_k": LUCID.model_copy(update={"activation": "batch_top_k"}),
    "jump_relu": LUCID.model_copy(update={"activation": "jump_relu"}),
    "sae_d": SAE_D,
    "side_bias": SAE_D.model_copy(update={"side_bias": True}),
    "pooled": SAE_D.model_copy(update={"inputs": "pooled"}),
}
TRAIN = {"epochs": 2, "batch_pairs": 4, "warmup_steps": 2, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    """Activations whose channels go together, of very different variances, the smallest 0, far from the origin."""
    plain, generator = (
        synthetic_activations(images=16, shard_images=8, channels=CHANNELS),
        np.random.default_rng(1),
    )
    mixing = np.linalg.qr(generator.standard_normal((CHANNELS, CHANNELS)))[0]
    mixing = mixing * np.array([30.0, 10.0, 3.0, 1.0, 0.3, 0.0])[:, None] @ mixing
    arrays = {
        name: array if array.dtype == np.int64 else (array @ mixing + 20).astype(np.float16)
        for name, array in plain.arrays.items()
    }
    return write_cache(tmp_path_factory.mktemp("whitening") / "train.zarr", replace(plain, arrays=arrays))


def rows_of(sae: SparseAutoencoder, cache: ActivationCache, side: Side) -> Tensor:
    (batch, *_) = cache.iterate(cache.pairs)
    return sae.reader.pairs(batch).rows(side)


@pytest.mark.parametrize("recipe", ["lucid", "position", "pooled"])
def test_whitened_activations_have_no_mean_and_the_covariance_that_shrinkage_leaves(
    cache: ActivationCache, recipe: str
) -> None:
    sae = initial_sae(RECIPES[recipe], cache, seed=0)
    assert sae.whitening is not None
    for side in SIDES:
        rows, found = rows_of(sae, cache, side).double(), sae.whitening.of(side)
        covariance = torch.cov(rows.T, correction=0)
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().mean() * torch.eye(CHANNELS)
        torch.testing.assert_close(found.inverse @ found.inverse, shrunk)
        torch.testing.assert_close(found.matrix @ found.inverse, torch.eye(CHANNELS).double())
        torch.testing.assert_close(found.mean, rows.mean(dim=0))
        torch.testing.assert_close(found.restored(found.whitened(rows)), rows)


@pytest.mark.parametrize("recipe", RECIPES)
def test_folded_weights_read_raw_activations_as_the_others_read_whitened_ones(
    cache: ActivationCache, recipe: str
) -> None:
    sae = initial_sae(RECIPES[recipe], cache, seed=0)
    whitening, step = sae.whitening, TrainingStep(sae, TrainOptions())
    assert whitening is not None
    step.set_learning_rate(1e-2)
    for batch in cache.iterate(4):
        step(sae.learned_from(batch))
    raw = {side: rows_of(sae, cache, side) for side in SIDES}
    codes = {side: sae.encode(side, whitening.of(side).whitened(raw[side])) for side in SIDES}
    rebuilt = {side: whitening.of(side).restored(sae.decode(side, codes[side])) for side in SIDES}
    sae.fold_whitening()
    assert sae.whitening is None
    for side in SIDES:
        latents = sae.options.latents
        found, expected = sae.encode(side, raw[side]).dense(latents), codes[side].dense(latents)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
        error = (sae.decode(side, codes[side]) - rebuilt[side]).abs().max()
        assert error < 1e-5 * rebuilt[side].abs().max()


def test_a_saved_dictionary_knows_nothing_of_its_whitening(cache: ActivationCache, tmp_path: Path) -> None:
    sae = fit(cache, {"one": Training(LUCID, TrainOptions(**TRAIN))}).saes["one"].eval()
    save_sae(sae, tmp_path)
    loaded = load_sae(tmp_path)
    assert not [name for name in loaded.state_dict() if "whitening" in name]
    for side in SIDES:
        rows = rows_of(loaded, cache, side)
        assert torch.equal(loaded.encode(side, rows).values, sae.encode(side, rows).values)
        assert torch.equal(loaded.directions(side), sae.directions(side))


def test_a_stopped_training_ends_in_the_same_bytes(cache: ActivationCache, tmp_path: Path) -> None:
    training = Training(LUCID, TrainOptions(**TRAIN), tmp_path / "checkpoint.safetensors")

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = fit(cache, {"one": training._replace(checkpoint=None)}).saes["one"]
    with pytest.raises(KeyboardInterrupt):
        fit(cache, {"one": training}, interrupt)
    resumed = fit(cache, {"one": training}).saes["one"].state_dict()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.parametrize(
    "changes", [{}, {"encoder": "affine"}, {"shared_encoder": False, "encoder": "cosine"}]
)
def test_whitening_that_could_not_be_folded_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="whitening: ends in the weights of an affine encoder"):
        VLSAEOptions(**changes, **WHITENING)
