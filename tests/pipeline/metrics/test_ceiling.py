"""Supervised probes: the logistic regression that they are, and the ceiling that they make."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from cache import ActivationCache
from pipeline.metrics.ceiling import ITEM_FEATURES, ItemFeature, supervised_ceiling
from pipeline.metrics.logistic_probe import fit_probe
from pipeline.metrics.not_defined import NotDefined

from .axis_world import NOUNS, random_scenes

BuildCache = Callable[..., ActivationCache]


def test_a_probe_is_the_logistic_regression_of_each_concept_on_standardised_features() -> None:
    generator = np.random.default_rng(0)
    features = (generator.normal(size=(90, 3)) * [1.0, 50.0, 0.1] + [0.0, 9.0, -4.0]).astype(np.float32)
    labels = (features[:, [0, 1]] - [0.0, 9.0] + generator.normal(size=(90, 2)) * [1.0, 50.0]) > 0.3
    probe = fit_probe(features, labels, penalty=2.0)
    wide = features.astype(np.float64)
    standard = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    for concept in (0, 1):
        signs = 1 - 2.0 * labels[:, concept]

        def loss(parameters: np.ndarray, signs: np.ndarray = signs) -> float:
            logits = standard @ parameters[:3] + parameters[3]
            return float(np.logaddexp(0, signs * logits).sum() + np.square(parameters[:3]).sum())

        best = minimize(loss, np.zeros(4), tol=1e-10).x
        expected = standard @ best[:3] + best[3]
        np.testing.assert_allclose(probe.logits(wide)[:, concept], expected, atol=1e-3)


def test_a_probe_of_a_concept_without_items_or_of_a_feature_that_does_not_vary_is_finite() -> None:
    features = np.stack([np.ones(20), np.arange(20.0)], axis=1).astype(np.float32)
    labels = np.stack([np.zeros(20, dtype=bool), np.arange(20) > 9], axis=1)
    probe = fit_probe(features, labels)
    assert np.isfinite(probe.logits(features)).all()
    assert probe.weights[0].tolist() == [0.0, 0.0]
    assert ((probe.logits(features)[:, 1] > 0) == labels[:, 1]).all()


@pytest.mark.parametrize("feature", ITEM_FEATURES)
def test_probes_of_a_world_whose_axes_are_its_concepts_find_all_of_them(
    build_cache: BuildCache, feature: ItemFeature
) -> None:
    training = build_cache(random_scenes(60, seed=1), noise=0.02, name="training")
    validation = build_cache(random_scenes(40, seed=2), noise=0.02, name="validation")
    ceiling = supervised_ceiling(training, validation, [feature], least=3, batch_pairs=16)
    assert ceiling["concepts"] == len(NOUNS)
    assert ceiling["joint"]["mean"] == ceiling["joint"]["by_kind"]["noun"] > 0.98
    assert ceiling["same_latent"]["count"] == ceiling["near"]["beyond_chance"] == len(NOUNS)


def test_deranged_pairs_lower_no_ceiling_and_noise_does(build_cache: BuildCache) -> None:
    scenes = random_scenes(80, seed=1)
    deranged = [
        replace(scene, things=other.things)
        for scene, other in zip(scenes, [*scenes[1:], scenes[0]], strict=True)
    ]
    training = build_cache(deranged, noise=0.02, name="training")
    validation = build_cache(random_scenes(60, seed=2), noise=0.02, name="validation")
    # Either side has its own probes, so it does not matter which captions go with which pictures.
    assert supervised_ceiling(training, validation, least=3)["joint"]["mean"] > 0.98
    noise = build_cache(random_scenes(60, seed=2), noise=50.0, name="noise")
    ceiling = supervised_ceiling(training, noise, least=3)
    assert ceiling["joint"]["mean"] == pytest.approx(ceiling["joint"]["chance"], abs=0.15)


def test_there_is_no_ceiling_without_truth_nor_of_concepts_that_are_too_rare(build_cache: BuildCache) -> None:
    told = build_cache(random_scenes(12, seed=1), name="told")
    untold = build_cache([replace(scene, truth=False) for scene in random_scenes(5, seed=2)], name="untold")
    assert isinstance(supervised_ceiling(untold, told), NotDefined)
    assert isinstance(supervised_ceiling(told, untold), NotDefined)
    assert isinstance(supervised_ceiling(told, told, least=12)["recovery"], NotDefined)
