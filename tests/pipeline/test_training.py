from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache, PairLoader
from pipeline.errors import ConfigError
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.fit import Training, fit
from pipeline.training.loop import Trainee, refuse_different_streams, train
from pipeline.training.options import TrainOptions

CHANNELS, BATCH = 8, 4
RECIPES = {
    "narrow": {"latents": 24, "k_shared": 2, "k_private": 2},
    "wide": {"latents": 64, "k_shared": 3, "k_private": 4, "alignment": "none", "gamma": 0.0},
}
OPTIONS = {"epochs": 2, "batch_pairs": BATCH, "warmup_steps": 2, "checkpoint_every": 3, "record_every": 2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    activations = synthetic_activations(images=20, shard_images=8, channels=CHANNELS)
    return write_cache(tmp_path_factory.mktemp("training") / "train.zarr", activations)


@pytest.fixture
def loader(cache):
    return PairLoader(cache, BATCH, seed=0, placement="host")


class Run:
    def __init__(self, name, cache, folder, **changes):
        self.records = []
        self.sae = LucidSAE(LucidOptions(**RECIPES[name]), CHANNELS, CHANNELS)
        self.sae.initialise(cache.statistics)
        self.checkpoint = folder / f"{name}.safetensors"
        self.trainee = Trainee(
            self.sae,
            TrainOptions(**{**OPTIONS, **changes}),
            self.checkpoint,
            {"name": name},
            self.records.append,
        )

    @property
    def state(self):
        return {**load_file(self.checkpoint), **self.sae.state_dict()}


def nothing(done, total):
    pass


def assert_same(found, expected):
    assert found.records == expected.records
    assert found.state.keys() == expected.state.keys()
    for name, tensor in expected.state.items():
        assert torch.equal(found.state[name], tensor), name


@pytest.fixture
def alone(cache, loader, tmp_path):
    runs = {name: Run(name, cache, tmp_path / "alone") for name in RECIPES}
    for run in runs.values():
        train([run.trainee], loader, nothing)
    return runs


def test_variants_that_train_together_become_what_they_become_alone(cache, loader, tmp_path, alone):
    together = {name: Run(name, cache, tmp_path / "together") for name in RECIPES}
    train([run.trainee for run in together.values()], loader, nothing)
    for name, run in together.items():
        assert_same(run, alone[name])


def test_variants_interrupted_at_different_steps_go_on_together_to_the_same_bits(
    cache, loader, tmp_path, alone
):
    folder = tmp_path / "resumed"
    for name, last in (("narrow", 7), ("wide", 4)):
        with pytest.raises(KeyboardInterrupt):
            train([Run(name, cache, folder).trainee], loader, interrupt_after(last))
    resumed = {name: Run(name, cache, folder) for name in RECIPES}
    seen = []
    train([run.trainee for run in resumed.values()], loader, lambda done, total: seen.append((done, total)))
    assert seen == [(step, 10) for step in range(4, 11)]  # from the earlier of the two checkpoints
    for name, run in resumed.items():
        assert_same(run, alone[name])


def interrupt_after(last):
    def advance(done, total):
        if done == last:
            raise KeyboardInterrupt

    return advance


def test_variants_of_different_length_end_on_their_own(cache, loader, tmp_path, alone):
    short, long = Run("narrow", cache, tmp_path / "mixed", epochs=1), Run("wide", cache, tmp_path / "mixed")
    train([short.trainee, long.trainee], loader, nothing)
    assert (short.trainee.step, long.trainee.step) == (5, 10)
    assert_same(long, alone["wide"])


def test_waiting_for_batches_is_a_part_of_the_time(cache, loader, tmp_path):
    waited = train([Run("narrow", cache, tmp_path).trainee], loader, nothing)
    assert waited > 0


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 1), ("batch_pairs", 8), ("placement", "stream"), ("device", "cpu")]
)
def test_variants_that_need_other_batches_are_refused_by_key_and_name(key, value):
    options = {
        "a": TrainOptions(),
        "b": TrainOptions(epochs=3, learning_rate=1.0),
        "c": TrainOptions(**{key: value}),
    }
    with pytest.raises(ConfigError, match=rf"train\.{key}: is .* in a and .* in c"):
        refuse_different_streams(options)
    del options["c"]
    refuse_different_streams(options)


MATCHED = {"alignment": "none", "contrast": {"weight": 0.1}, "matching": {"separate_epochs": 1}}


def test_sides_that_learned_apart_are_matched_and_go_on_together(
    cache: ActivationCache, tmp_path: Path
) -> None:
    records: list[dict[str, float]] = []
    options = TrainOptions(**{**OPTIONS, "record_every": 1})
    sae = LucidOptions(latents=12, shared_ratio=0.5, k_shared=2, k_private=2, **MATCHED)
    fitted = fit(cache, {"one": Training(sae, options, record=records.append)}).saes["one"]
    apart = [record for record in records if record["step"] <= cache.pairs // BATCH]
    together = [record for record in records if record["step"] > cache.pairs // BATCH]
    assert apart and together
    assert not any("contrast" in record or "cross_text" in record for record in apart)
    assert all("contrast" in record and "cross_text" in record for record in together)
    assert fitted.confidence.diff().le(1e-6).all() and fitted.confidence[0] > 0


@pytest.mark.parametrize("last", [-1, 0, 1])
def test_a_training_that_was_stopped_near_the_match_ends_in_the_same_bytes(
    cache: ActivationCache, tmp_path: Path, last: int
) -> None:
    options = TrainOptions(**OPTIONS)
    sae = LucidOptions(latents=12, shared_ratio=0.5, k_shared=2, k_private=2, **MATCHED)
    whole = fit(cache, {"one": Training(sae, options)}).saes["one"]
    stop = cache.pairs // BATCH + last
    options = TrainOptions(**{**OPTIONS, "checkpoint_every": stop})
    training = Training(sae, options, tmp_path / "checkpoint.safetensors")

    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(cache, {"one": training}, interrupt)
    resumed = fit(cache, {"one": training}).saes["one"]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("separate_epochs", "told"),
    [(None, "is null, which is for `concord match`"), (3, "= 3 is more than train.epochs = 2")],
)
def test_a_training_whose_sides_would_never_be_matched_is_refused(
    cache: ActivationCache, separate_epochs: int | None, told: str
) -> None:
    sae = LucidOptions(latents=12, k_shared=2, k_private=2, matching={"separate_epochs": separate_epochs})
    with pytest.raises(ConfigError, match=rf"sae\.matching\.separate_epochs {told}"):
        fit(cache, {"one": Training(sae, TrainOptions(**OPTIONS))})


def test_sides_with_weights_in_common_cannot_be_asked_to_be_matched() -> None:
    with pytest.raises(ConfigError, match="matching: the sides have weights in common"):
        VLSAEOptions.parse({"matching": {"separate_epochs": 1}}, "sae")
