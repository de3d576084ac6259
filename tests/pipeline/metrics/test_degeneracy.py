"""maxfreq and dead latents by loops over dense codes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.metrics.degeneracy import DegeneracyMeter
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.options import Pooling
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.sides import SIDES

from .axis_world import CHANNELS, axis_sae, random_scenes


def measure(cache: ActivationCache, sae: LucidSAE, pooling: Pooling, batch_pairs: int = 5) -> dict:
    meter = DegeneracyMeter(cache.pair_images, sae.shared_width, sae.private_width, pooling)
    with torch.inference_mode():
        for batch in cache.iterate(batch_pairs):
            meter.update(encode_batch(sae, batch, torch.device("cpu")))
    return meter.result()


def by_loops(codes: list[np.ndarray], pooling: Pooling, k: int) -> float:
    hits = np.zeros(codes[0].shape[1])
    for tokens in codes:
        pooled = tokens.mean(axis=0) if pooling == "mean" else tokens.max(axis=0)
        for latent in np.argsort(-pooled, kind="stable")[:k]:
            hits[latent] += pooled[latent] > 0
    return hits.max() / len(codes)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_maxfreq_and_dead_latents_equal_loops(
    build_cache: Callable[..., ActivationCache], pooling: Pooling
) -> None:
    # Some images have two captions: an image must count once, a caption each time.
    single, double = random_scenes(5, seed=2), random_scenes(4, seed=6)
    scenes = [*single, *(replace(scene, captions=[*scene.captions, "a sea"]) for scene in double)]
    cache = build_cache(scenes, noise=0.2)
    options = LucidOptions(latents=60, shared_ratio=0.4, k_shared=3, k_private=2)
    sae = LucidSAE(options, CHANNELS, CHANNELS).eval()
    for side in SIDES:  # few latents fire, so that Top-k picks zeros too
        torch.nn.init.constant_(sae.dictionary(side).encoder_bias, -0.35)
    whole = cache.read_pairs(np.arange(cache.pairs))
    width = sae.shared_width
    with torch.inference_mode():
        vision = sae.encode("vision", whole.vision_tokens.flatten(0, 1)).dense(60).view(13, 16, 60).numpy()
        text = sae.encode("text", whole.text_tokens).dense(60)
    captions = [part.numpy() for part in text.tensor_split(whole.text_offsets[1:-1])]
    result = measure(cache, sae, pooling)
    assert result["image_to_text"] == by_loops(
        [image[:, :width] for image in vision[[*range(5), 5, 7, 9, 11]]], pooling, 3
    )
    assert result["text_to_image"] == by_loops([caption[:, :width] for caption in captions], pooling, 3)
    for side, fired in (("vision", (vision > 0).any(axis=(0, 1))), ("text", (text.numpy() > 0).any(axis=0))):
        assert result["dead_shared"][side] == (~fired[:width]).sum()
        assert result["dead_private"][side] == (~fired[width:]).sum()


def test_a_dictionary_without_private_latents_has_none_dead(
    build_cache: Callable[..., ActivationCache],
) -> None:
    result = measure(build_cache(random_scenes(4, seed=0)), axis_sae(), "mean")
    assert "dead_private" not in result
    assert result["dead_shared"]["text"] > 0


def test_a_dictionary_that_never_fires_is_dead_and_not_degenerate(
    build_cache: Callable[..., ActivationCache],
) -> None:
    sae = axis_sae()
    for side in SIDES:
        torch.nn.init.constant_(sae.dictionary(side).encoder_bias, -9.0)
    dead = {"vision": CHANNELS, "text": CHANNELS}
    assert measure(build_cache(random_scenes(4, seed=0)), sae, "mean") == {
        "text_to_image": 0.0,
        "image_to_text": 0.0,
        "dead_shared": dead,
    }
