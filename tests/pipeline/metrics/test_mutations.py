"""What breaks a dictionary, its pairs or its masks makes the tables worse: the figures see it, whatever it is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cache import ActivationCache, DerangedCache
from pipeline.backbone.model import Backbone
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.options import EvaluateOptions
from pipeline.results.run import flatten
from pipeline.sae import crossing
from pipeline.sae.lucid.model import LucidSAE
from pipeline.transport.options import GuidanceOptions, TransportOptions
from pipeline.transport.plan import TokenPlaces, token_places

from .axis_world import CHANNELS, axis_sae, random_scenes

OPTIONS = EvaluateOptions(batch_pairs=16, least_positives=3)
CROSSED = ("reconstruction.text_to_vision.shared", "reconstruction.vision_to_text.shared")
AGREED = ("retrieval.codes.text_to_image.recall_at_1", "consistency.auc", "grounding.transport.point_at_1")
REBUILT = ("reconstruction.vision.full_global", "reconstruction.text.full_global")

Figures = dict[str, float]
Measure = Callable[..., Figures]


@pytest.fixture
def cache(build_cache: Callable[..., ActivationCache]) -> ActivationCache:
    return build_cache(random_scenes(40, seed=0))


@pytest.fixture
def measure(cache: ActivationCache, backbone: Backbone) -> Measure:
    """The figures of a dictionary, on the cache or on another one."""

    def figures(sae: LucidSAE, other: ActivationCache | None = None) -> Figures:
        return flatten(evaluate(sae, other or cache, backbone, OPTIONS))

    return figures


def assert_worse(found: Figures, table: Figures, *keys: str) -> None:
    assert {key: (found[key], table[key]) for key in keys if not found[key] < table[key] - 0.1} == {}


def assert_kept(found: Figures, table: Figures, *keys: str) -> None:
    assert {key: found[key] for key in keys} == pytest.approx({key: table[key] for key in keys})


def other_numbers() -> torch.Tensor:
    return torch.arange(CHANNELS).roll(3)


def test_deranged_pairs(measure: Measure, cache: ActivationCache) -> None:
    found, table = measure(axis_sae(), DerangedCache(cache, 0)), measure(axis_sae())
    assert_worse(found, table, *CROSSED, *AGREED)
    assert_kept(found, table, *REBUILT)


def test_shuffled_indices(measure: Measure) -> None:
    shuffled, table = axis_sae(), measure(axis_sae())
    shuffled.reindex("text", other_numbers())
    found = measure(shuffled)
    assert_worse(found, table, *CROSSED, *AGREED, "concepts.joint.mean")
    assert_kept(found, table, *REBUILT)


def test_swapped_decoders(measure: Measure) -> None:
    """Of sides that have directions of their own at the same numbers."""
    swapped = axis_sae()
    swapped.reindex("text", other_numbers())
    table = measure(swapped)
    vision, text = swapped.dictionary("vision"), swapped.dictionary("text")
    vision.decoder, text.decoder = text.decoder, vision.decoder
    assert_worse(measure(swapped), table, *REBUILT)


def test_a_dropped_mask(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without guidance, which gives no mass to codes of 0, places of short captions that no token has take some."""

    def unmasked(*arguments: Any) -> TokenPlaces:
        places = token_places(*arguments)
        return places._replace(valid=torch.ones_like(places.valid))

    sae = axis_sae()
    sae.transport_options = TransportOptions(guidance=GuidanceOptions(global_context=False))
    table = measure(sae)
    monkeypatch.setattr(crossing, "token_places", unmasked)
    assert_worse(measure(sae), table, CROSSED[0])
