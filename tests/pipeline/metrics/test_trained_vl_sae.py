"""VL-SAE, its ablations and its rivals through the one training loop, and from there to metrics.json."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cache import ActivationCache, PairLoader
from pipeline.backbone.model import Backbone
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.options import EvaluateOptions
from pipeline.params import load_params
from pipeline.sae.initial import initial_sae
from pipeline.sae.reader import READERS
from pipeline.sae.registry import build_sae
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.loop import Trainee, train
from pipeline.training.options import TrainOptions

from .axis_world import CHANNELS, random_scenes, write_cache

PARAMS = Path(__file__).parents[3] / "params.yaml"
VARIANTS = {
    name: variant.sae
    for name, variant in load_params(PARAMS).variants.items()
    if variant.sae.reads == "pooled"
}
OPTIONS = TrainOptions(epochs=12, batch_pairs=8, learning_rate=1e-2, weight_decay=0, device="cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> ActivationCache:
    return write_cache(
        tmp_path_factory.mktemp("axes") / "train.zarr", random_scenes(48, seed=0), backbone, 0.1
    )


@pytest.mark.parametrize(("name", "inputs"), [*((name, "pooled") for name in VARIANTS), ("vl_sae", "tokens")])
def test_every_variant_trains_and_is_evaluated(
    name: str, inputs: str, cache: ActivationCache, tmp_path: Path
) -> None:
    others = {} if inputs == VARIANTS[name].reads else {"inputs": inputs}
    options = VARIANTS[name].model_copy(update={"latents": 64, "k": 8} | others)
    sae = initial_sae(options, cache, seed=0)
    records: list[dict[str, float]] = []
    trainee = Trainee(sae, OPTIONS, tmp_path / "checkpoint", {"name": name}, records.append)
    train([trainee], PairLoader(cache, 8, seed=0, placement="host"), lambda done, total: None)
    assert records[-1]["total"] < 0.8 * records[0]["total"]
    save_sae(sae, tmp_path)
    metrics = evaluate(load_sae(tmp_path), cache, None, EvaluateOptions(), training=cache)
    assert min(metrics["reconstruction"][side]["shared"] for side in ("vision", "text")) > 0.2
    assert 0 <= metrics["consistency"]["auc"] <= 1
    assert ("grounding" in metrics["not_defined"]) == (inputs == "pooled")


def test_centring_takes_off_the_mean_of_what_is_read_of_each_side(cache: ActivationCache) -> None:
    pairs = cache.read_pairs(np.arange(cache.pairs))
    sae = build_sae(VLSAEOptions(latents=16, k=4, centre=1.0), CHANNELS, CHANNELS)
    plain = build_sae(VLSAEOptions(latents=16, k=4), CHANNELS, CHANNELS)
    sae.initialise(sae.reader.statistics(cache))
    for side, pooled in (("vision", pairs.vision_pooled), ("text", pairs.text_pooled)):
        mean = pooled.double().mean(dim=0).float()
        codes, expected = sae.encode(side, pooled), plain.encode(side, pooled - mean)
        torch.testing.assert_close(codes.dense(16), expected.dense(16), rtol=1e-4, atol=1e-5)


def test_pooled_inputs_have_the_width_of_the_embedding_whatever_the_tokens() -> None:
    shape = type("Dimensions", (), {"vision_channels": 9, "text_channels": 7, "embedding": 5})
    assert READERS["pooled"].channels(shape) == (5, 5)
    assert READERS["tokens"].channels(shape) == (9, 7)


def test_a_step_in_bfloat16_is_finite_and_close(cache: ActivationCache) -> None:
    sae = build_sae(VARIANTS["vl_sae"].model_copy(update={"latents": 64, "k": 4}), CHANNELS, CHANNELS)
    pairs = sae.reader.pairs(next(iter(cache.iterate(16))))
    with torch.autocast("cpu", torch.bfloat16):
        total = sae.losses(pairs).total
    torch.testing.assert_close(total, sae.losses(pairs).total, rtol=0.02, atol=0)
