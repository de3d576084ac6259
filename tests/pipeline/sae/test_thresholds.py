from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import LatentOptions
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions

CHANNELS = 8
LUCID = {"latents": 40, "shared_ratio": 0.3, "k_shared": 2, "k_private": 3}
VL_SAE = {"latents": 24, "k": 3, "encoder": "affine", "inputs": "tokens"}
TRAIN = {"epochs": 3, "batch_pairs": 4, "warmup_steps": 2, "checkpoint_every": 4}
JUMP = {"batches_in_common": 6}
ACTIVATIONS = ("batch_top_k", "jump_relu")
OPTIONS: dict[str, LatentOptions] = {
    f"{name} {activation}": kind(**values, activation=activation, jump_relu=JUMP)
    for name, kind, values in (("lucid", LucidOptions, LUCID), ("vl_sae", VLSAEOptions, VL_SAE))
    for activation in ACTIVATIONS
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    activations = synthetic_activations(images=24, shard_images=8, channels=CHANNELS)
    return write_cache(tmp_path_factory.mktemp("thresholds") / "train.zarr", activations)


def trained(cache: ActivationCache, options: LatentOptions) -> SparseAutoencoder:
    return fit(cache, {"one": Training(options, TrainOptions(**TRAIN))}).saes["one"]


@pytest.mark.parametrize("recipe", OPTIONS)
def test_a_token_is_encoded_alike_alone_and_among_others_also_after_saving(
    cache: ActivationCache, tmp_path: Path, recipe: str
) -> None:
    sae = trained(cache, OPTIONS[recipe]).eval()
    save_sae(sae, tmp_path)
    loaded = load_sae(tmp_path)
    for side in SIDES:
        rows = torch.randn(30, CHANNELS, generator=torch.Generator().manual_seed(1)) * 3
        together = sae.encode(side, rows)
        alone = [sae.encode(side, row[None]).values for row in rows]
        torch.testing.assert_close(together.values, torch.cat(alone))
        assert torch.equal(loaded.encode(side, rows).values, together.values)
        assert (together.values > 0).sum(dim=1).unique().numel() > 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stopped_training_ends_in_the_same_bytes(
    cache: ActivationCache, tmp_path: Path, activation: str
) -> None:
    options = OPTIONS[f"lucid {activation}"]
    whole = trained(cache, options)
    training = Training(options, TrainOptions(**TRAIN), tmp_path / "checkpoint.safetensors")

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(cache, {"one": training}, interrupt)
    resumed = fit(cache, {"one": training}).saes["one"].state_dict()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_codes_of_either_sign_are_refused(activation: str) -> None:
    with pytest.raises(ValidationError, match=f"{activation} .* leave relu on"):
        LucidOptions(**LUCID, activation=activation, relu=False)
