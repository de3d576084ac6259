"""Controls that are trained: a decoder that is held where it began, deranged pairs, and no training at all."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache, DerangedCache
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions

PAIRS, BATCH, CHANNELS, STEPS = 20, 10, 8, 6
LUCID = LucidOptions(latents=16, shared_ratio=0.5, k_shared=2, k_private=2)
MATCHED = LUCID.model_copy(
    update={
        "matching": LucidOptions.model_validate({"matching": {"separate_epochs": 1}}).matching,
        "alignment": "none",
    }
)
RECIPES: dict[str, ArchitectureOptions] = {
    "lucid": LUCID,
    "loose": LUCID.model_copy(update={"unit_norm_decoder": False}),
    "vl_sae": VLSAEOptions(latents=16, k=3),
    "one_decoder": VLSAEOptions(latents=16, k=3, shared_decoder=True),
}


def options(**changes: Any) -> TrainOptions:
    defaults = {"epochs": 3, "batch_pairs": BATCH, "learning_rate": 0.1, "warmup_steps": 0, "device": "cpu"}
    return TrainOptions(**(defaults | changes))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    folder = tmp_path_factory.mktemp("controls")
    return write_cache(folder / "train.zarr", synthetic_activations(PAIRS, shard_images=8, channels=CHANNELS))


def trained(cache: ActivationCache, sae: ArchitectureOptions, **changes: Any) -> SparseAutoencoder:
    return fit(cache, {"one": Training(sae, options(**changes))}).saes["one"]


def cosines(found: SparseAutoencoder, start: SparseAutoencoder) -> torch.Tensor:
    return torch.cat(
        [cosine_similarity(found.directions(side), start.directions(side)) for side in SIDES]
    ).detach()


@pytest.mark.parametrize("name", RECIPES)
def test_a_frozen_decoder_is_what_it_began_as_while_the_rest_learns(
    name: str, cache: ActivationCache
) -> None:
    start, free = initial_sae(RECIPES[name], cache, 0), trained(cache, RECIPES[name])
    frozen = trained(cache, RECIPES[name], decoder_cosine=1.0)
    for side in SIDES:
        assert torch.equal(frozen.directions(side), start.directions(side))
        assert not torch.equal(free.directions(side), start.directions(side))
    changed = [
        key for key, tensor in frozen.state_dict().items() if not torch.equal(tensor, start.state_dict()[key])
    ]
    assert any("encoder" in key for key in changed)
    assert any("bias" in key for key in changed)


@pytest.mark.parametrize("name", RECIPES)
def test_a_soft_frozen_decoder_goes_as_far_as_it_may(name: str, cache: ActivationCache) -> None:
    start = initial_sae(RECIPES[name], cache, 0)
    held = cosines(trained(cache, RECIPES[name], decoder_cosine=0.95), start)
    assert cosines(trained(cache, RECIPES[name]), start).min() < 0.9
    assert held.min() == pytest.approx(0.95, abs=1e-5)


def test_a_decoder_that_is_held_is_resumed_to_the_same_bytes_also_across_the_match(
    cache: ActivationCache, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    held = options(decoder_cosine=0.8, checkpoint_every=1)

    def keep_what_a_kill_would_leave(done: int, total: int) -> None:
        shutil.copy(checkpoint, tmp_path / f"{done}.safetensors")

    whole = fit(cache, {"one": Training(MATCHED, held, checkpoint)}, keep_what_a_kill_would_leave).saes["one"]
    for step in range(1, STEPS + 1):
        resumed = fit(cache, {"one": Training(MATCHED, held, tmp_path / f"{step}.safetensors")}).saes["one"]
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), (step, name)


@pytest.mark.parametrize("sae", [LUCID, MATCHED], ids=["lucid", "matched"])
def test_no_epoch_leaves_a_dictionary_as_it_begins(sae: ArchitectureOptions, cache: ActivationCache) -> None:
    untrained, start = trained(cache, sae, epochs=0, seed=4), initial_sae(sae, cache, 4)
    assert not untrained.apart
    for name, tensor in start.state_dict().items():
        assert torch.equal(untrained.state_dict()[name], tensor), name


@pytest.mark.parametrize("sae", [LUCID, MATCHED], ids=["lucid", "matched"])
def test_deranged_pairs_train_and_match_as_a_cache_of_those_pairs_does(
    sae: ArchitectureOptions, cache: ActivationCache
) -> None:
    deranged = trained(cache, sae, pairs="deranged", seed=2)
    expected = trained(DerangedCache(cache, 2), sae, seed=2)
    paired = trained(cache, sae, seed=2)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(deranged.state_dict()[name], tensor), name
    assert not torch.equal(deranged.directions("text"), paired.directions("text"))


def test_a_control_has_an_identity_of_its_own(cache: ActivationCache) -> None:
    usual = Training(LUCID, options()).identity(cache)
    for changes in ({"pairs": "deranged"}, {"decoder_cosine": 1.0}, {"epochs": 0}):
        assert Training(LUCID, options(**changes)).identity(cache) != usual
