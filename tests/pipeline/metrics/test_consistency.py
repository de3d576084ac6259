"""Concept consistency against brute force over all combinations of an image and a caption."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.metrics.consistency import ConsistencyMeter, area_under_curve
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.items import read_items
from pipeline.metrics.not_defined import NotDefined
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import CHANNELS, Scene, random_scenes

BuildCache = Callable[..., ActivationCache]
LATENTS = 24


def measure(cache: ActivationCache, sae: SparseAutoencoder, pairs: int = 1000, batch_pairs: int = 7) -> dict:
    meter = ConsistencyMeter(read_items(cache), LATENTS, pairs, seed=0, pooling="max")
    with torch.inference_mode():
        for batch in cache.iterate(batch_pairs):
            meter.update(encode_batch(sae, batch, torch.device("cpu")))
    return meter.result()


def lucid() -> LucidSAE:
    options = LucidOptions(latents=2 * LATENTS, shared_ratio=0.5, k_shared=3, k_private=2)
    return LucidSAE(options, CHANNELS, CHANNELS).eval()


def brute_force_auc(matched: list[float], mismatched: list[float]) -> float:
    return float(np.mean([(p > n) + 0.5 * (p == n) for p in matched for n in mismatched]))


def test_cosines_and_auc_are_those_of_all_combinations_that_are_no_pair(build_cache: BuildCache) -> None:
    scenes = [Scene(scene.things, [*scene.captions, "the sea"]) for scene in random_scenes(6, seed=2)]
    cache, sae = build_cache([*scenes, *random_scenes(9, seed=3)], noise=0.4), lucid()
    batch = cache.read_pairs(np.arange(cache.pairs))
    with torch.inference_mode():
        vision = [
            sae.encode("vision", tokens, "shared").dense(LATENTS).amax(0) for tokens in batch.vision_tokens
        ]
        captions = batch.text_tokens.tensor_split(batch.text_offsets[1:-1])
        text = [sae.encode("text", tokens, "shared").dense(LATENTS).amax(0) for tokens in captions]
    rows = cache.samples.to_pylist()
    matched, mismatched = [], []
    jaccard: dict[str, list[float]] = {"matched": [], "mismatched": []}
    for i, image in enumerate(rows):
        for j, caption in enumerate(rows):
            cosine = float(torch.cosine_similarity(vision[i], text[j], dim=0))
            shown, said = (set(code.nonzero()[:, 0].tolist()) for code in (vision[i], text[j]))
            in_common = len(shown & said) / len(shown | said)
            if i == j:
                matched.append(cosine)
                jaccard["matched"].append(in_common)
            elif image["image_row"] != caption["image_row"] and image["caption"] != caption["caption"]:
                mismatched.append(cosine)
                jaccard["mismatched"].append(in_common)
    found = measure(cache, sae)
    assert found["pairs"] == cache.pairs and len(mismatched) < cache.pairs * (cache.pairs - 1)
    assert found["matched"] == pytest.approx(np.mean(matched), abs=1e-6)
    assert found["mismatched"] == pytest.approx(np.mean(mismatched), abs=1e-6)
    assert found["jaccard"] == pytest.approx({name: np.mean(some) for name, some in jaccard.items()})
    assert found["auc"] == pytest.approx(
        brute_force_auc(matched, mismatched), abs=2e-3
    )  # rounding breaks ties


def test_a_shared_encoder_of_the_same_embeddings_is_consistent_and_unrelated_encoders_are_not(
    build_cache: BuildCache,
) -> None:
    cache = build_cache(random_scenes(40, seed=1))  # image and caption of a pair have the same embedding
    shared = VLSAE(VLSAEOptions(latents=LATENTS, k=4), CHANNELS, CHANNELS).eval()
    separate = VLSAEOptions(latents=LATENTS, k=4, encoder="affine", shared_encoder=False)
    consistent = measure(cache, shared)
    assert consistent["matched"] == pytest.approx(1.0)
    assert consistent["auc"] > 0.99  # "a cat on the boat" and "a boat on the cat" have the same embedding
    assert measure(cache, VLSAE(separate, CHANNELS, CHANNELS).eval())["auc"] < 0.75


def test_drawn_pairs_do_not_depend_on_the_size_of_batches(build_cache: BuildCache) -> None:
    cache, sae = build_cache(random_scenes(30, seed=1), noise=0.2), lucid()
    first = measure(cache, sae, pairs=12)
    assert first["pairs"] == 12
    again = measure(cache, sae, pairs=12, batch_pairs=30)
    assert again.pop("jaccard") == first.pop("jaccard")
    assert again == pytest.approx(first, abs=1e-6)


def test_without_two_different_pairs_there_is_nothing_to_compare(build_cache: BuildCache) -> None:
    scenes = [Scene([], ["the sea"]), Scene([], ["the sea"])]
    assert isinstance(measure(build_cache(scenes), lucid()), NotDefined)


def test_the_area_counts_ties_as_half() -> None:
    generator = np.random.default_rng(0)
    positive, negative = generator.integers(0, 6, 40) + 1.0, generator.integers(0, 6, 70) * 1.0
    expected = brute_force_auc(positive.tolist(), negative.tolist())
    assert area_under_curve(positive, negative) == pytest.approx(expected)
