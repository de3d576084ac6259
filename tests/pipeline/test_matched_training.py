"""Training with a match in its middle: it may stop anywhere, share its stream, and meet what has no correlation."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.synthetic import SyntheticActivations, synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.runs.checkpoint import LossRecord
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions

PAIRS, BATCH, CHANNELS = 20, 10, 8
STEPS = 3 * PAIRS // BATCH
OF_TOKENS = ("text_tokens", "token_ids")


def recipe(separate_epochs: int, **changes: Any) -> LucidOptions:
    matching, contrast = {"separate_epochs": separate_epochs}, {"weight": 0.1}
    defaults: dict[str, Any] = {"latents": 16, "shared_ratio": 0.5, "k_shared": 2, "k_private": 2}
    return LucidOptions(
        **(defaults | {"alignment": "none", "contrast": contrast, "matching": matching} | changes)
    )


def options(**changes: Any) -> TrainOptions:
    defaults = {"epochs": 3, "batch_pairs": BATCH, "warmup_steps": 2, "record_every": 1, "device": "cpu"}
    return TrainOptions(**(defaults | changes))


@pytest.fixture(scope="module")
def activations() -> SyntheticActivations:
    return synthetic_activations(PAIRS, shard_images=8, channels=CHANNELS)


@pytest.fixture(scope="module")
def cache(activations: SyntheticActivations, tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    return write_cache(tmp_path_factory.mktemp("matched") / "train.zarr", activations)


def trained(cache: ActivationCache, **trainings: Training) -> dict[str, SparseAutoencoder]:
    return fit(cache, trainings).saes


def assert_same_weights(found: SparseAutoencoder, expected: SparseAutoencoder) -> None:
    state = found.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_a_training_that_was_killed_after_any_step_ends_in_the_same_bytes_and_records(
    cache: ActivationCache, tmp_path: Path
) -> None:
    records: list[LossRecord] = []
    checkpoint = tmp_path / "checkpoint.safetensors"
    sae = recipe(1, image_level={"latents": 4, "k": 2})
    training = Training(sae, options(checkpoint_every=1), checkpoint, records.append)

    def keep_what_a_kill_would_leave(done: int, total: int) -> None:
        shutil.copy(checkpoint, tmp_path / f"{done}.safetensors")

    whole = fit(cache, {"one": training}, keep_what_a_kill_would_leave).saes["one"]
    for step in range(1, STEPS + 1):
        again: list[LossRecord] = []
        resumed = Training(training.sae, training.train, tmp_path / f"{step}.safetensors", again.append)
        assert_same_weights(trained(cache, one=resumed)["one"], whole)
        assert again == records


def test_variants_that_were_stopped_on_either_side_of_the_match_go_on_together(
    cache: ActivationCache, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"{name}.safetensors" for name in ("behind", "ahead")}
    trainings = {name: Training(recipe(1), options(checkpoint_every=1), file) for name, file in files.items()}

    def keep(done: int, total: int) -> None:
        for name, file in files.items():
            shutil.copy(file, tmp_path / f"{name}-{done}.safetensors")

    whole = fit(cache, trainings, keep).saes
    for name, step in (("behind", 1), ("ahead", STEPS - 1)):
        shutil.copy(tmp_path / f"{name}-{step}.safetensors", files[name])
    resumed = trained(cache, **trainings)
    for name in files:
        assert_same_weights(resumed[name], whole[name])


def test_after_the_match_the_optimiser_knows_nothing_of_latents_that_had_other_numbers(
    cache: ActivationCache, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    kept: list[bool] = []

    def look(done: int, total: int) -> None:
        kept.append(any(name.startswith("optimizer.") for name in load_file(path)))

    fit(cache, {"one": Training(recipe(1), options(checkpoint_every=1), path)}, look)
    matched_at = PAIRS // BATCH
    assert [step for step, has_moments in enumerate(kept, 1) if not has_moments] == [matched_at]


def test_variants_that_are_matched_at_different_moments_become_on_one_stream_what_they_become_alone(
    cache: ActivationCache,
) -> None:
    variants: Mapping[str, ArchitectureOptions] = {
        "early": recipe(1),
        "late": recipe(2),
        "never": recipe(1).model_copy(update={"matching": None}),
        "pooled": VLSAEOptions(
            latents=16, k=3, encoder="affine", shared_encoder=False, matching={"separate_epochs": 3}
        ),
    }
    trainings = {name: Training(sae, options()) for name, sae in variants.items()}
    together = trained(cache, **trainings)
    for name, training in trainings.items():
        assert_same_weights(together[name], trained(cache, one=training)["one"])


def test_a_dictionary_of_pooled_embeddings_keeps_its_confidence(
    cache: ActivationCache, tmp_path: Path
) -> None:
    sae = VLSAEOptions(
        latents=16, k=3, encoder="affine", shared_encoder=False, matching={"separate_epochs": 1}
    )
    found = trained(cache, one=Training(sae, options(epochs=1)))["one"]
    save_sae(found, tmp_path)
    assert torch.equal(load_sae(tmp_path).confidence, found.confidence)
    assert found.confidence[0] > 0.1


def test_clocks_of_dead_latents_follow_their_latents(cache: ActivationCache) -> None:
    def weights_of(sae: SparseAutoencoder, clock: int) -> Tensor:
        return sae.directions("text")[sae.activity["text"].pairs_since_fired == clock]

    sae = trained(cache, one=Training(recipe(3).model_copy(update={"matching": None}), options()))["one"]
    sae.activity["text"].pairs_since_fired[3] = 1234
    before = weights_of(sae, 1234)
    sae.reindex("text", torch.randperm(16, generator=torch.Generator().manual_seed(0)))
    assert sae.activity["text"].pairs_since_fired[3] != 1234
    assert torch.equal(weights_of(sae, 1234), before)


def test_a_training_whose_last_step_before_the_match_blew_up_says_so(cache: ActivationCache) -> None:
    training = Training(recipe(1), options(batch_pairs=PAIRS, learning_rate=3e38, warmup_steps=0))
    with pytest.raises(
        RunError, match=r"cannot be matched: their codes are not finite; lower train\.learning_rate"
    ):
        fit(cache, {"one": training})


@pytest.mark.parametrize("side", ["vision", "text"])
def test_a_side_that_is_the_same_in_every_pair_matches_nothing_and_training_goes_on(
    side: str, activations: SyntheticActivations, tmp_path: Path
) -> None:
    arrays, lengths = dict(activations.arrays), activations.lengths
    if side == "vision":
        arrays["vision_tokens"] = arrays["vision_tokens"][:1].repeat(PAIRS, axis=0)
    else:
        arrays |= {
            name: np.resize(arrays[name][:6], (6 * PAIRS, *arrays[name].shape[1:])) for name in OF_TOKENS
        }
        lengths = np.full(PAIRS, 6)
    cache = write_cache(
        tmp_path / "same.zarr", SyntheticActivations(arrays, lengths, activations.shard_images)
    )
    sae = trained(cache, one=Training(recipe(1), options()))["one"]
    assert not sae.confidence.any()
    assert all(torch.isfinite(tensor).all() for tensor in sae.state_dict().values())


def test_batches_of_one_pair_are_matched_and_contrasted_with_nothing(cache: ActivationCache) -> None:
    records: list[LossRecord] = []
    trained(cache, one=Training(recipe(1), options(batch_pairs=1, epochs=2), record=records.append))
    assert {record["contrast"] for record in records if "contrast" in record} == {0}
