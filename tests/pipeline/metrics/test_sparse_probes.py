"""Sparse probes on a dictionary whose latents are the concepts, and on one whose sides are numbered apart."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.metrics.logistic_probe import fit_probe
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.sparse_probes import fit_sparse_probe, sparse_probes

from .axis_world import axis_sae, random_scenes

BuildCache = Callable[..., ActivationCache]
OPTIONS = EvaluateOptions(batch_pairs=16, least_positives=3)


def test_a_sparse_probe_reads_the_latents_whose_means_differ_most_and_is_their_logistic_regression() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random((120, 2)) < 0.4
    codes = generator.normal(size=(120, 6))
    codes[:, 4] += 3 * labels[:, 0]
    codes[:, 1] -= 2 * labels[:, 0]
    codes[:, 3] += 3 * labels[:, 1]
    probe = fit_sparse_probe(codes, labels, 2)
    assert np.flatnonzero(probe.weights[:, 0]).tolist() == [1, 4]
    assert np.count_nonzero(probe.weights[:, 1]) == 2 and probe.weights[3, 1] > 0
    expected = fit_probe(codes[:, [1, 4]], labels[:, :1]).logits(codes[:, [1, 4]])[:, 0]
    np.testing.assert_allclose(probe.logits(codes)[:, 0], expected, atol=1e-6)
    assert fit_sparse_probe(codes, labels, 1).weights[4, 0] > 0


def test_probes_go_over_to_the_other_side_where_latents_have_one_meaning_and_not_where_numbers_differ(
    build_cache: BuildCache,
) -> None:
    training = build_cache(random_scenes(60, seed=1), noise=0.01, name="training")
    validation = build_cache(random_scenes(40, seed=2), noise=0.01, name="validation")
    sae = axis_sae()
    probes = sparse_probes(sae, training, validation, OPTIONS)
    for size in ("k1", "k2", "k5", "dense"):
        assert set(probes[size]) == {"vision", "text", "text_to_vision", "vision_to_text"}
        assert min(probes[size].values()) > 0.95
    with torch.no_grad():
        dictionary = sae.dictionary("text")
        order = torch.roll(torch.arange(len(dictionary.encoder)), 1)
        dictionary.encoder.copy_(dictionary.encoder[order])
        dictionary.decoder.copy_(dictionary.decoder[order])
    apart = sparse_probes(sae, training, validation, OPTIONS)
    assert apart["k1"]["text"] == pytest.approx(probes["k1"]["text"])
    assert max(apart["k1"]["text_to_vision"], apart["dense"]["vision_to_text"]) < 0.6
    assert apart["chance"]["vision"] < 0.5


def test_there_are_no_probes_without_truth(build_cache: BuildCache) -> None:
    told = build_cache(random_scenes(12, seed=1), name="told")
    untold = build_cache([replace(scene, truth=False) for scene in random_scenes(5, seed=2)], name="untold")
    assert isinstance(sparse_probes(axis_sae(), untold, told, OPTIONS), NotDefined)
    assert isinstance(sparse_probes(axis_sae(), told, told, EvaluateOptions()), NotDefined)
