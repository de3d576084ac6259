import pytest
import torch

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import PairLoader
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.registry import build_sae
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.options import TrainOptions
from pipeline.training.replay import ReplayedStep, replay_reason
from pipeline.training.step import TrainingStep

CHANNELS, STEPS = 8, 10
RECIPES = {
    "lucid": LucidOptions(latents=96, k_shared=2, k_private=2, auxiliary={"dead_after_pairs": 8}),
    "pooled": VLSAEOptions(latents=24, k=4),
    "tokens": VLSAEOptions(latents=24, k=4, inputs="tokens"),
}


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    activations = synthetic_activations(images=20, shard_images=8, channels=CHANNELS)
    cache = write_cache(tmp_path_factory.mktemp("replay") / "train.zarr", activations)
    return PairLoader(cache, 4, seed=0, placement="host")


def new_step(recipe):
    sae = build_sae(RECIPES[recipe], CHANNELS, CHANNELS, seed=1)
    step = TrainingStep(sae, TrainOptions())
    step.set_learning_rate(1e-2)
    return step


def learn(step, take, loader):
    losses = []
    for number in range(STEPS):
        step.set_learning_rate(1e-2 / (1 + number))
        (batch, *_) = loader.batches(0, number % loader.steps_per_epoch)
        losses.append({name: float(term) for name, term in take(step.sae.reader.pairs(batch)).items()})
    return losses


class Tape:
    """What a graph is to a GPU: the same work on the same tensors, again and again."""

    def __init__(self):
        self.recorded = []

    def __call__(self, work):
        self.recorded.append(work)
        return work


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_replayed_step_learns_what_the_step_learns(recipe, loader):
    plain, replayed, tape = new_step(recipe), new_step(recipe), Tape()
    replay = ReplayedStep(replayed, tape)
    torch.testing.assert_close(
        learn(replayed, replay, loader), learn(plain, plain, loader), rtol=2e-4, atol=1e-6
    )
    assert 1 <= len(tape.recorded) <= len(replay._works) < STEPS / 2
    if recipe == "lucid":  # what the step pads, it did pad, and what it fills up with living latents
        assert any(max(extents.most_dead) for extents in replay._works)
    for (name, weights), expected in zip(
        replayed.sae.state_dict().items(), plain.sae.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-5, msg=name)


def test_where_recording_fails_training_goes_on_and_says_so(loader):
    asked = []

    def refuse(work):
        asked.append(work)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    plain, replayed = new_step("lucid"), new_step("lucid")
    replay = ReplayedStep(replayed, refuse)
    with pytest.warns(
        UserWarning, match=r"not recorded \(operation not permitted when stream is capturing\)"
    ):
        found = learn(replayed, replay, loader)
    assert len(asked) == 1
    torch.testing.assert_close(found, learn(plain, plain, loader), rtol=2e-4, atol=1e-6)


def test_a_cpu_has_nothing_to_record_on():
    assert replay_reason(torch.device("cpu")) == "the device is 'cpu', where there are no graphs"
