"""Same-side pairs: a dictionary is matched with itself whatever its latents' numbers are, and not with noise."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cache import ActivationCache
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.same_side import same_side_scores
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.sides import SIDES

from .axis_world import axis_sae, random_scenes

BuildCache = Callable[..., ActivationCache]
OPTIONS = EvaluateOptions(batch_pairs=16, least_positives=3)


def renumbered(sae: LucidSAE) -> LucidSAE:
    """The same dictionary, the latents of either side in an order of their own."""
    generator = torch.Generator().manual_seed(7)
    for side in SIDES:
        sae.reindex(side, torch.randperm(sae.options.latents, generator=generator))
    return sae


def test_a_renumbered_dictionary_is_found_again_on_either_side(build_cache: BuildCache) -> None:
    training = build_cache(random_scenes(60, seed=1), noise=0.01, name="training")
    validation = build_cache(random_scenes(40, seed=2), noise=0.01, name="validation")
    found = same_side_scores((axis_sae(), renumbered(axis_sae())), training, validation, OPTIONS)
    assert not isinstance(found, NotDefined)
    recovery = evaluate(axis_sae(), validation, None, OPTIONS)["concepts"]["recovery"]
    for side in SIDES:
        figures = found[side]
        assert figures["recovery"]["vision"] == pytest.approx(figures["recovery"]["text"])
        assert figures["recovery"]["vision"] == pytest.approx(recovery[side], abs=1e-6)
        assert figures["joint"]["mean"] == pytest.approx(recovery[side], abs=1e-6)
        assert figures["near"]["count"] == figures["concepts"]
    with torch.no_grad():
        deaf = axis_sae()
        dictionary = deaf.dictionary("text")
        dictionary.encoder.zero_()
        dictionary.encoder_bias.fill_(1)
    broken = same_side_scores((axis_sae(), deaf), training, validation, OPTIONS)
    assert broken["vision"]["joint"]["mean"] == found["vision"]["joint"]["mean"]
    assert broken["text"]["joint"]["mean"] < 0.6 < found["text"]["joint"]["mean"]


def test_there_are_no_same_side_pairs_without_truth(build_cache: BuildCache) -> None:
    told = build_cache(random_scenes(60, seed=1), name="told")
    untold = build_cache([replace(scene, truth=False) for scene in random_scenes(5, seed=2)], name="untold")
    saes = axis_sae(), axis_sae()
    assert isinstance(same_side_scores(saes, told, untold, OPTIONS), NotDefined)
    assert isinstance(same_side_scores(saes, told, told, EvaluateOptions(least_positives=50)), NotDefined)
