"""Image-level latents: what reads them from an image's embedding, and how they are saved."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.errors import ConfigError, RunError
from pipeline.matching.readout import RegressionMoments, fit_image_level
from pipeline.metrics.encoding import encode_batch
from pipeline.sae.image_level import ImageLevelReadout
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import ImageLevelOptions
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sparse.codes import max_pool_codes

RIDGE = 0.1
OPTIONS = LucidOptions(latents=24, k_shared=2, k_private=4, image_level={"latents": 6, "k": 2})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    activations = synthetic_activations(images=40, shard_images=16, channels=8)
    return write_cache(tmp_path_factory.mktemp("readout") / "train.zarr", activations)


def drawn(pairs: int = 60, inputs: int = 5, targets: int = 7) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(pairs, inputs)) * generator.uniform(0.1, 10, inputs) + 3
    y = np.maximum(x @ generator.normal(size=(inputs, targets)) + generator.normal(size=(pairs, targets)), 0)
    y[:, 2] = 0.5
    return x, y


def test_it_is_ridge_regression_of_scaled_inputs_whatever_the_batches() -> None:
    x, y = drawn()
    moments = RegressionMoments(5, 7, torch.device("cpu"))
    for start in range(0, len(x), 17):
        moments.update(torch.from_numpy(x[start : start + 17]), torch.from_numpy(y[start : start + 17]))
    weight, bias, correlation = (part.numpy() for part in moments.ridge(RIDGE))
    unit = (x - x.mean(axis=0)) / x.std(axis=0)
    varying = [0, 1, 3, 4, 5, 6]
    solved = np.linalg.solve(
        unit.T @ unit / len(x) + RIDGE * np.eye(5), unit.T @ (y - y.mean(axis=0)) / len(x)
    )
    expected = unit @ solved[:, varying]
    scores = x @ weight.T + bias
    np.testing.assert_allclose(scores[:, varying], expected / expected.std(axis=0), atol=1e-6)
    for target in varying:
        assert correlation[target] == pytest.approx(np.corrcoef(scores[:, target], y[:, target])[0, 1])
    assert not weight[2].any() and correlation[2] == 0
    np.testing.assert_allclose(moments.fired.numpy(), (y > 0).mean(axis=0))


def test_what_never_varies_explains_nothing_and_is_not_explained_whatever_its_sums_round_to() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60_000, 6, generator=generator) * 0.01
    x[:, 3:5] = torch.tensor([100.1, 7.3])
    y = (100 * x[:, :3] @ torch.randn(3, 5, generator=generator)).relu()
    y[:, 2] = 0.7
    moments = RegressionMoments(6, 5, torch.device("cpu"))
    for start in range(0, len(x), 64):
        moments.update(x[start : start + 64], y[start : start + 64])
    weight, _, correlation = moments.ridge(0.02)
    assert not weight[:, 3:5].any() and not weight[2].any()
    assert correlation[2] == 0 and (correlation[[0, 1, 3, 4]] > 0.5).all()


def test_the_latents_of_which_the_embedding_explains_most_become_image_level(cache: ActivationCache) -> None:
    sae = initial_sae(OPTIONS, cache, seed=0)
    fit_image_level(sae, cache, batch_pairs=7)
    readout = sae.image_level
    assert readout is not None
    batch = cache.read_pairs(range(cache.pairs))
    pairs = sae.reader.pairs(batch)
    codes = sae.encode("text", pairs.rows("text"), "private")
    pooled = max_pool_codes(codes, pairs.owners("text"), len(pairs), 24).detach().double()
    moments = RegressionMoments(batch.vision_pooled.shape[1], 24, torch.device("cpu"))
    moments.update(batch.vision_pooled, pooled)
    correlation = moments.ridge(readout.options.ridge)[2]
    fired = (pooled > 0).double().mean(dim=0)
    gain = correlation * (fired * (1 - fired)).sqrt()
    assert readout.latents.tolist() == gain.argsort(descending=True)[:6].tolist()
    assert (readout.latents >= sae.shared_width).all()
    torch.testing.assert_close(readout.confidence.double(), correlation[readout.latents])
    fired = readout.encode(batch.vision_pooled)
    assert fired.values.shape == (cache.pairs, 2) and (fired.values >= 0).all()


@torch.no_grad()
def test_latents_that_never_fire_stay_silent_in_pictures_unless_there_are_no_others(
    cache: ActivationCache,
) -> None:
    options = OPTIONS.model_copy(update={"image_level": ImageLevelOptions(latents=18, k=18)})
    sae = initial_sae(options, cache, seed=0)
    readout, text = sae.image_level, sae.dictionary("text")
    assert readout is not None and sae.shared_width + len(readout) == options.latents
    text.encoder[10:] = 0
    text.encoder_bias[10:] = -1
    fit_image_level(sae, cache, batch_pairs=7)
    assert sorted(readout.latents.tolist()) == list(range(sae.shared_width, options.latents))
    dead = readout.latents >= 10
    assert dead.sum() == 14 and not readout.confidence[dead].any() and (readout.confidence[~dead] > 0).all()
    fired = readout.encode(cache.read_pairs(range(cache.pairs)).vision_pooled).dense(len(readout)) > 0
    assert not fired[:, dead].any() and fired[:, ~dead].any(dim=0).all()
    text.encoder[:] = 0
    text.encoder_bias[:] = -1
    with pytest.raises(
        RunError, match="no private latent of text that an image's embedding tells anything of"
    ):
        fit_image_level(sae, cache, batch_pairs=7)


def test_both_sides_of_a_pair_have_image_level_codes_after_the_shared_ones(cache: ActivationCache) -> None:
    sae = initial_sae(OPTIONS, cache, seed=0)
    fit_image_level(sae, cache, batch_pairs=7)
    readout = sae.image_level
    assert readout is not None and sae.item_width == sae.shared_width + 6
    with torch.inference_mode():
        batch = cache.read_pairs(range(5))
        encoded = encode_batch(sae, batch, torch.device("cpu"))
        pictures, captions = (
            encoded.pooled(side, "max")[:, sae.shared_width :] for side in ("vision", "text")
        )
        torch.testing.assert_close(pictures, readout.encode(batch.vision_pooled).dense(6))
        private = encoded.codes["text"]["private"].dense(24)
        for pair, (start, stop) in enumerate(zip(batch.text_offsets, batch.text_offsets[1:], strict=False)):
            expected = private[start:stop].amax(dim=0)[readout.latents]
            torch.testing.assert_close(captions[pair], expected)


def test_a_saved_dictionary_keeps_its_image_level_latents(cache: ActivationCache, tmp_path: Path) -> None:
    sae = initial_sae(OPTIONS, cache, seed=0)
    fit_image_level(sae, cache, batch_pairs=7)
    save_sae(sae, tmp_path / "run")
    loaded = load_sae(tmp_path / "run")
    for name, tensor in sae.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.item_width == sae.item_width


def test_renumbering_the_latents_of_text_moves_no_image_level_code() -> None:
    readout = ImageLevelReadout(ImageLevelOptions(latents=3, k=2), 4)
    readout.latents.copy_(torch.tensor([5, 1, 3]))
    codes, order = torch.arange(12.0).view(2, 6), torch.tensor([4, 2, 0, 5, 1, 3])
    before = readout.of_captions(codes)
    readout.reindex(order)
    assert torch.equal(readout.of_captions(codes[:, order]), before)


def test_more_image_level_latents_than_private_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image_level\.latents = 20 is more than the 18 private latents"):
        LucidOptions.parse(
            {"latents": 24, "image_level": {"latents": 20, "k": 2}, "k_shared": 2, "k_private": 4}, "sae"
        )
