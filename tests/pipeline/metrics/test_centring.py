"""Dictionaries centred by position: what they read, what they give back, and how well they are said to explain it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cache import ActivationCache
from pipeline.backbone.model import Backbone
from pipeline.errors import ConfigError
from pipeline.interpretation.dense_codes import dense_codes, heat_map
from pipeline.interpretation.sightings import SplitSightings
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.reconstruction import ReconstructionMeter
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.centring import LEAST_COUNT
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES, Side, other_side
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import random_scenes

BuildCache = Callable[..., ActivationCache]
OPTIONS = LucidOptions(latents=24, shared_ratio=0.5, k_shared=3, k_private=2, centring="position")
TOKENS = VLSAEOptions(inputs="tokens", latents=24, k=4, centre=1.0, centring="position")
SCENES = 130


@pytest.fixture
def cache(build_cache: BuildCache) -> ActivationCache:
    """More images than `LEAST_COUNT`; the last tokens of the longest captions are rarer."""
    return build_cache(random_scenes(SCENES, seed=5), noise=0.3)


def raw(cache: ActivationCache, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """All tokens of a side, float64, and the position of each."""
    batch = cache.read_pairs(np.arange(cache.pairs))
    if side == "vision":
        images, patches, _ = batch.vision_tokens.shape
        return batch.vision_tokens.double().flatten(0, 1).numpy(), np.tile(np.arange(patches), images)
    lengths = batch.text_offsets.diff().tolist()
    return batch.text_tokens.double().numpy(), np.concatenate([np.arange(length) for length in lengths])


def read(sae: SparseAutoencoder, cache: ActivationCache, side: Side) -> Tensor:
    return sae.reader.pairs(cache.read_pairs(np.arange(cache.pairs))).rows(side)


@pytest.mark.parametrize("side", SIDES)
def test_what_is_read_has_the_mean_of_all_at_every_position_but_rare_ones(
    cache: ActivationCache, side: Side
) -> None:
    found = read(initial_sae(OPTIONS, cache, seed=0), cache, side).double().numpy()
    rows, position = raw(cache, side)
    for place in np.unique(position):
        here = position == place
        if here.sum() >= LEAST_COUNT:
            np.testing.assert_allclose(found[here].mean(0), rows.mean(0), atol=1e-6)
        else:
            np.testing.assert_array_equal(found[here], rows[here])
    counts = np.bincount(position)
    assert counts.max() >= LEAST_COUNT
    assert side == "vision" or counts.min() < LEAST_COUNT


@pytest.mark.parametrize("side", SIDES)
def test_a_dictionary_begins_with_the_moments_of_what_it_reads(cache: ActivationCache, side: Side) -> None:
    sae = initial_sae(OPTIONS, cache, seed=0)
    found, rows = sae.reader.statistics(cache)[side], read(sae, cache, side).double().numpy()
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.variance, rows.var(0), rtol=1e-5)


def test_images_and_texts_fresh_from_a_backbone_are_read_as_cached_ones(
    cache: ActivationCache, backbone: Backbone
) -> None:
    reader = initial_sae(OPTIONS, cache, seed=0).reader
    plain = initial_sae(LucidOptions(latents=24, k_shared=3, k_private=2), cache, seed=0).reader
    texts = ["a boat on the sea", "cat", "two fish , a star"]
    rows, offsets = plain.texts(backbone, texts)
    found = reader.texts(backbone, texts)
    assert torch.equal(found.offsets, offsets)
    assert torch.equal(found.rows, reader.read("text", rows, offsets))
    torch.testing.assert_close(reader.restored("text", found.rows, offsets), rows)
    assert not torch.equal(found.rows, rows)
    pixels = torch.rand(2, 3, 32, 32)
    images = plain.rows("vision", backbone.encode_images(pixels))
    centred = reader.rows("vision", backbone.encode_images(pixels))
    shift = (images.rows - centred.rows).view(2, 16, -1)
    torch.testing.assert_close(shift[0], shift[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [OPTIONS, TOKENS], ids=["lucid", "vl_sae of tokens"])
def test_a_saved_dictionary_needs_no_cache_to_centre(
    cache: ActivationCache, tmp_path: Path, options: LucidOptions | VLSAEOptions
) -> None:
    sae = initial_sae(options, cache, seed=0)
    save_sae(sae, tmp_path / "run")
    loaded = load_sae(tmp_path / "run")
    for side in SIDES:
        assert torch.equal(read(loaded, cache, side), read(sae, cache, side))
    assert loaded.centring is not None
    assert loaded.centring.positions == (cache.manifest.patches, cache.manifest.context_length)


@torch.no_grad()
def test_r2_is_of_raw_activations_against_either_mean(cache: ActivationCache) -> None:
    """Errors in raw units are those of what was read; dense float64 arithmetic on the restored reconstruction."""
    sae = initial_sae(OPTIONS, cache, seed=1).eval()
    meter = ReconstructionMeter(sae, sae.reader.centres(cache), "float32")
    for batch in cache.iterate(37):
        meter.update(encode_batch(sae, batch, torch.device("cpu")))
    result = meter.result()
    whole = encode_batch(sae, cache.read_pairs(np.arange(cache.pairs)), torch.device("cpu"))
    for side in SIDES:
        rows, position = raw(cache, side)
        means = np.stack([rows[position == place].mean(0) for place in range(position.max() + 1)])
        total, within = ((rows - rows.mean(0)) ** 2).sum(), ((rows - means[position]) ** 2).sum()
        assert result["position"][side] == pytest.approx(1 - within / total, abs=1e-6)
        for mode, codes in whole.codes[side].items():
            rebuilt = sae.reader.restored(side, sae.decode(side, codes), whole.offsets(side))
            error = ((rows - rebuilt.double().numpy()) ** 2).sum()
            assert result[side][mode] == pytest.approx(1 - error / total, abs=1e-5)
            assert result["positional"][side][mode] == pytest.approx(1 - error / within, abs=1e-5)
        across = f"{other_side(side)}_to_{side}"
        for name in ("shared", "full"):
            unexplained = (1 - result[across][name]) * total
            assert (1 - result["positional"][across][name]) * within == pytest.approx(unexplained, rel=1e-6)


def test_codes_for_looking_at_are_those_of_what_is_read(cache: ActivationCache) -> None:
    sae = initial_sae(OPTIONS, cache, seed=0)
    batch = cache.read_pairs(np.arange(6))
    pairs = sae.reader.pairs(batch)
    width = sae.shared_width
    expected = {side: sae.encode(side, pairs.rows(side), "shared").dense(width) for side in SIDES}
    found = dense_codes(sae, "vision", batch.vision_tokens)
    assert torch.equal(found.flatten(0, 1), expected["vision"])
    assert torch.equal(
        dense_codes(sae, "text", batch.text_tokens, offsets=batch.text_offsets), expected["text"]
    )
    with pytest.raises(ConfigError, match=r"say where each item's tokens begin, such as batch\.text_offsets"):
        dense_codes(sae, "text", batch.text_tokens)
    maps = SplitSightings(cache, sae).heat_maps({7: [2]})
    np.testing.assert_allclose(maps[7][2], heat_map(sae, cache, 2, 7), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(heat_map(sae, cache, 2, 7).ravel(), found[2, :, 7])


def test_the_backbones_own_heat_map_is_of_its_own_activations(
    cache: ActivationCache, backbone: Backbone
) -> None:
    found = [
        evaluate(initial_sae(options, cache, seed=0), cache, backbone, EvaluateOptions())["grounding"][
            "backbone"
        ]
        for options in (OPTIONS, OPTIONS.model_copy(update={"centring": "global"}))
    ]
    assert found[0] == found[1]


def test_embeddings_of_whole_items_cannot_be_centred_by_position() -> None:
    with pytest.raises(ConfigError, match="centring: pooled embeddings have no position"):
        VLSAEOptions.parse({"architecture": "vl_sae", "centring": "position"}, "sae")
