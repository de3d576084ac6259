"""Edits against one picture and one caption at a time, and what they must not depend on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.backbone.model import Backbone
from pipeline.metrics.changed_captions import ChangedCaption
from pipeline.metrics.edits import edit_pictures
from pipeline.metrics.not_defined import NotDefined
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import CHANNELS, random_scenes

BuildCache = Callable[..., ActivationCache]
TEXTS = {"noun": "two cats on the sea", "place": "the boat, a star", "count": "a photo of the fish"}


def lucid() -> LucidSAE:
    return LucidSAE(
        LucidOptions(latents=48, shared_ratio=0.5, k_shared=6, k_private=2), CHANNELS, CHANNELS
    ).eval()


def questions(cache: ActivationCache) -> list[ChangedCaption]:
    captions = cache.samples["caption"].to_pylist()
    return [
        ChangedCaption(pair, captions[pair], kind, text)
        for pair in range(len(captions))
        for kind, text in TEXTS.items()
    ]


@torch.inference_mode()
def one_by_one(
    sae: LucidSAE, cache: ActivationCache, backbone: Backbone, strength: int
) -> tuple[float, float]:
    def text(words: str) -> tuple[torch.Tensor, torch.Tensor]:
        ids, valid = backbone.tokenize([words])
        read = backbone.encode_texts(ids)
        return sae.encode("text", read.tokens[valid], "shared").dense(24).amax(0), read.pooled[0]

    def near(tokens: torch.Tensor, embedding: torch.Tensor) -> float:
        patches = backbone.patch_embeddings(tokens[None])[0]
        return float(torch.cosine_similarity(patches, embedding[None], dim=1).max())

    cause, isolate = [], []
    directions, scale = sae.directions("vision"), float(sae.dictionary("vision").scale)
    for pair, caption, kind, words in questions(cache):
        tokens = cache.read_pairs(np.array([pair])).vision_tokens[0].clone()
        (own, to_own), (other, to_other) = text(caption), text(words)
        if near(tokens, to_own) <= near(tokens, to_other):
            continue
        fired = sae.encode("vision", tokens, "shared").dense(24)[:, (other - own).argmin()]
        step = strength * directions[(other - own).argmax()] - directions[(other - own).argmin()]
        edited = tokens + scale * fired[:, None] * step
        cause.append(near(edited, to_other) > near(edited, to_own))
        rest = [text(more)[1] for name, more in TEXTS.items() if name != kind]
        rest = [embedding for embedding in rest if near(tokens, to_own) > near(tokens, embedding)]
        if rest:
            isolate.append(all(near(edited, to_own) > near(edited, embedding) for embedding in rest))
    return float(np.mean(cause)), float(np.mean(isolate))


def test_scores_are_those_of_edits_one_by_one_however_they_are_batched(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache, sae = build_cache(random_scenes(12, seed=0), noise=0.3), lucid()
    found = edit_pictures(sae, cache, backbone, questions(cache), 0, batch_size=7)
    figures = found["strength_4"]
    assert (figures["cause"], figures["isolate"]) == pytest.approx(one_by_one(sae, cache, backbone, 4))
    assert 0 < found["strength_4"]["cause"] < 1
    whole = edit_pictures(sae, cache, backbone, questions(cache), 0, batch_size=100)
    assert whole["strength_4"]["cause"] == found["strength_4"]["cause"]
    assert whole["strength_4"]["isolate"] == found["strength_4"]["isolate"]


def test_without_another_fact_nothing_can_be_isolated_and_a_latent_that_does_not_fire_causes_nothing(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache, sae = build_cache(random_scenes(12, seed=0), noise=0.3), lucid()
    with torch.no_grad():
        sae.dictionary("vision").encoder_bias.fill_(-1e6)  # no patch fires
    found = edit_pictures(sae, cache, backbone, questions(cache)[::3], 0, 64)
    assert isinstance(found["strength_1"]["isolate"], NotDefined)
    assert found["strength_4"]["cause"] == found["strength_4"]["control"]["cause"] == 0


def test_a_dictionary_of_whole_pictures_is_edited_in_its_embedding(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache = build_cache(random_scenes(12, seed=0), noise=0.3)
    sae = VLSAE(VLSAEOptions(latents=16, k=4), CHANNELS, CHANNELS).eval()
    found = edit_pictures(sae, cache, backbone, questions(cache), 0, 64)
    assert 0 <= found["strength_1"]["cause"] <= 1
