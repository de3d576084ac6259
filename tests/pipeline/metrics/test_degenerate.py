"""Data that leave a figure without a value: it is absent with a reason, and every other figure is what it should be."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import ActivationCache, PairBatch
from pipeline.backbone.model import Backbone
from pipeline.errors import RunError
from pipeline.metrics.alignment import unit_length
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.not_defined import NotDefined, tell_apart
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.reconstruction import ROUNDING, VarianceMeter
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import Inputs
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import CHANNELS, Scene, Thing, random_scenes

BuildCache = Callable[..., ActivationCache]
OPTIONS = EvaluateOptions(batch_pairs=16, least_positives=3)


def dictionary(cache: ActivationCache, inputs: Inputs) -> LucidSAE | VLSAE:
    sae: LucidSAE | VLSAE = (
        VLSAE(VLSAEOptions(latents=48, k=4), CHANNELS, CHANNELS)
        if inputs == "pooled"
        else LucidSAE(LucidOptions(latents=48, k_shared=3, k_private=2), CHANNELS, CHANNELS)
    )
    sae.initialise(sae.reader.statistics(cache))
    return sae.eval()


def figures_of(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if key == "not_defined":
            continue
        if isinstance(value, dict):
            yield from figures_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_figures_do_not_depend_on_the_unit_of_the_activations(build_cache: BuildCache, scale: float) -> None:
    scenes = random_scenes(20, seed=0)
    plain, scaled = (build_cache(scenes, 0.3, f"by {unit:g}", unit) for unit in (1.0, scale))
    expected, found = (
        evaluate(dictionary(cache, "tokens"), cache, None, OPTIONS) for cache in (plain, scaled)
    )
    assert dict(figures_of(found)) == pytest.approx(dict(figures_of(expected)), rel=1e-3, abs=1e-4)
    assert found.get("not_defined") == expected.get("not_defined")


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_whole_embeddings_of_any_size_give_numbers(build_cache: BuildCache, scale: float) -> None:
    cache = build_cache(random_scenes(20, seed=0), 0.3, unit=scale)
    metrics = evaluate(dictionary(cache, "pooled"), cache, None, OPTIONS)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


SAME = Scene([Thing("cat", range(0, 2), range(0, 2))], ["a cat"])
DEGENERATE = {
    "one pair": [SAME],
    "one pair again and again": [SAME] * 5,
    "an image with two captions": [Scene(SAME.things, ["a cat", "two cats"])],
    "no object": [Scene([], ["the sea"]), Scene([], ["a photo"])],
}


@pytest.mark.parametrize("inputs", ["tokens", "pooled"])
@pytest.mark.parametrize("scenes", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("unit", [0.0, 1.0])
def test_every_figure_of_degenerate_data_is_a_number_or_absent_with_a_reason(
    build_cache: BuildCache, backbone: Backbone, scenes: list[Scene], inputs: Inputs, unit: float
) -> None:
    cache = build_cache(scenes, unit=unit)
    metrics = evaluate(dictionary(cache, inputs), cache, backbone, OPTIONS)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    figures = dict(figures_of(metrics))
    assert all(-1.0001 <= figures[key] <= 1.0001 for key in figures if key.startswith("reconstruction"))
    for group in ("reconstruction.text", "reconstruction.vision", "consistency", "concepts.recovery"):
        measured = any(key.startswith(group) for key in figures)
        told = any(group.startswith(key) for key in metrics["not_defined"])
        assert measured != told, group
    assert all(metrics["not_defined"].values())


@given(st.integers(0, 2**32 - 1), st.floats(-6, 6), st.sampled_from(sorted(ROUNDING)))
def test_rounding_alone_is_no_variance(seed: int, exponent: float, stored_as: Any) -> None:
    generator = np.random.default_rng(seed)
    constant = generator.standard_normal(6) * 10**exponent
    rounded = constant * (1 + ROUNDING[stored_as] * generator.uniform(-1, 1, (50, 6)))
    meter = VarianceMeter(torch.zeros(6, dtype=torch.float64), ROUNDING[stored_as])
    target = torch.tensor(rounded, dtype=torch.float64)
    meter.update_target(target, torch.tensor([0, len(target)]))
    meter.update("zeros", target, torch.zeros_like(target))
    assert meter.r2() == {}


@pytest.mark.parametrize("stored_as", sorted(ROUNDING))
def test_variance_beyond_rounding_is_explained_however_far_from_zero(stored_as: Any) -> None:
    offset = 0.05 / ROUNDING[stored_as]
    target = torch.randn(400, 6, dtype=torch.float64) + offset
    meter = VarianceMeter(torch.full((6,), offset, dtype=torch.float64), ROUNDING[stored_as])
    meter.update_target(target, torch.tensor([0, len(target)]))
    meter.update("mean", target, target.mean(dim=0).expand_as(target))
    assert meter.r2() == {"mean": pytest.approx(0, abs=1e-9)}


def test_a_grounding_of_one_category_has_no_code_map(build_cache: BuildCache, backbone: Backbone) -> None:
    cache = build_cache([SAME, Scene([], ["the sea"])])
    metrics = evaluate(dictionary(cache, "tokens"), cache, backbone, OPTIONS)
    assert set(metrics["grounding"]) == {"transport", "backbone", "uniform"}
    assert {"grounding.code", "grounding.swapped"} <= set(metrics["not_defined"])


@pytest.mark.parametrize("where", ["vision", "text"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_before_it_is_measured(
    build_cache: BuildCache, where: str, value: float
) -> None:
    cache = build_cache(random_scenes(4, seed=0))
    sae, batch = dictionary(cache, "tokens"), cache.read_pairs(np.arange(4))
    tokens = batch.vision_tokens if where == "vision" else batch.text_tokens
    tokens[0, 0] = value
    with pytest.raises(RunError, match=r"of the pairs 0 to 3 are not all finite"):
        encode_batch(sae, PairBatch(*batch), torch.device("cpu"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused(build_cache: BuildCache, value: float) -> None:
    cache = build_cache(random_scenes(4, seed=0))
    sae = dictionary(cache, "tokens")
    whole = {name: tensor.clone() for name, tensor in sae.state_dict().items() if tensor.is_floating_point()}
    for name, tensor in whole.items():
        sae.load_state_dict(whole, strict=False)
        damaged = tensor.clone()
        damaged.view(-1)[-1] = value
        sae.load_state_dict({name: damaged}, strict=False)
        with pytest.raises(RunError, match="weights are not all finite"):
            evaluate(sae, cache, None, OPTIONS)


def test_what_is_not_defined_is_told_apart_with_its_key() -> None:
    results = {
        "whole": NotDefined("no boxes"),
        "part": {"kept": 0, "gone": NotDefined("no masks"), "beyond": {"nan": math.nan, "inf": -math.inf}},
    }
    values, reasons = tell_apart(results)
    assert values == {"part": {"kept": 0}}
    assert reasons.keys() == {"whole", "part.gone", "part.beyond.nan", "part.beyond.inf"}
    assert reasons["whole"] == "no boxes"


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-38, 1e-30, 1.0, 1e30, 1e38]))
def test_rows_of_any_size_have_unit_length(seed: int, scale: float) -> None:
    rows = np.random.default_rng(seed).uniform(-1, 1, (4, 5)).astype(np.float32)
    scaled = unit_length(rows * np.float32(scale))
    np.testing.assert_allclose(scaled, unit_length(rows), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, rtol=1e-5)
    assert not unit_length(np.zeros((2, 3), np.float32)).any()
