"""Concept recovery from batches against recovery from everything at once."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.concepts import ConceptMeter
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.truth import read_truth
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions

from .axis_world import CHANNELS, GRID, NOUNS, Scene, random_scenes

BuildCache = Callable[..., ActivationCache]


def measure(cache: ActivationCache, sae: LucidSAE) -> dict:
    meter = ConceptMeter(read_truth(cache.samples), GRID, "squash", "max", least=2, seed=0)
    with torch.inference_mode():
        for batch in cache.iterate(7):
            meter.update(encode_batch(sae, batch, torch.device("cpu")))
    return meter.result()


def mentioned(caption: str) -> list[bool]:
    return [noun in caption for noun in NOUNS]


def patch_truth(scene: Scene, noun: str) -> np.ndarray:
    truth = np.zeros(GRID, dtype=bool)
    for thing in scene.things:
        if thing.noun == noun:
            truth[thing.rows.start : thing.rows.stop, thing.columns.start : thing.columns.stop] = True
    return truth.ravel()


def test_images_captions_and_patches_are_scored_against_their_own_truth(build_cache: BuildCache) -> None:
    # Captions name one object of two, and some images have a second caption that names none.
    scenes = [replace(scene, captions=[f"a {scene.things[0].noun}"]) for scene in random_scenes(30, seed=8)]
    scenes[::3] = [replace(scene, captions=[*scene.captions, "the sea"]) for scene in scenes[::3]]
    cache = build_cache(scenes, noise=0.4)
    sae = LucidSAE(LucidOptions(latents=40, shared_ratio=0.5, k_shared=3, k_private=1), CHANNELS, CHANNELS)
    result = measure(cache, sae.eval())

    whole = cache.read_pairs(np.arange(cache.pairs))
    with torch.inference_mode():
        vision = sae.encode("vision", whole.vision_tokens.flatten(0, 1), "shared").dense(20).view(-1, 16, 20)
        text = (
            sae.encode("text", whole.text_tokens, "shared").dense(20).tensor_split(whole.text_offsets[1:-1])
        )
    _, first = np.unique(cache.pair_images, return_index=True)
    patches = vision.numpy()[first]
    shown = np.array([[noun in {thing.noun for thing in scene.things} for noun in NOUNS] for scene in scenes])
    said = np.array([mentioned(caption) for scene in scenes for caption in scene.captions])
    of_images = average_precision(patches.max(axis=1), shown)
    of_captions = average_precision(np.stack([part.numpy().max(axis=0) for part in text]), said)

    assert result["concepts"] == len(NOUNS)
    assert result["recovery"]["vision"] == pytest.approx(of_images.max(axis=0).mean())
    assert result["recovery"]["text"] == pytest.approx(of_captions.max(axis=0).mean())
    assert result["prevalence"]["vision"] == pytest.approx(shown.mean())
    assert result["prevalence"]["text"] == pytest.approx(said.mean())
    same = of_images.argmax(axis=0) == of_captions.argmax(axis=0)
    assert result["same_latent"]["count"] == same.sum()
    assert result["joint"]["mean"] == pytest.approx(np.minimum(of_images, of_captions).max(axis=0).mean())
    columns = np.arange(len(NOUNS))
    assert result["transfer"]["text_to_vision"] == pytest.approx(
        of_images[of_captions.argmax(axis=0), columns].mean()
    )

    truth = np.concatenate(
        [np.stack([patch_truth(scene, noun) for noun in NOUNS], axis=1) for scene in scenes]
    )
    of_patches = average_precision(patches.reshape(-1, 20), truth)[of_images.argmax(axis=0), columns]
    assert result["patch_ap"] == {
        "mean": pytest.approx(of_patches.mean()),
        "prevalence": pytest.approx(truth.mean()),
        "concepts": len(NOUNS),
    }


def test_images_that_state_no_concepts_are_left_out(build_cache: BuildCache) -> None:
    scenes = random_scenes(12, seed=1)
    sae = LucidSAE(LucidOptions(latents=40, k_shared=3, k_private=1), CHANNELS, CHANNELS).eval()
    told = measure(build_cache(scenes, name="told"), sae)
    untold = [replace(scene, truth=False) for scene in random_scenes(5, seed=2)]
    assert measure(build_cache([*scenes, *untold], name="both"), sae) == told
    assert isinstance(measure(build_cache(untold, name="untold"), sae), NotDefined)
