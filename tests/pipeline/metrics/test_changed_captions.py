"""Captions with one fact changed: what a picture prefers, by kind of fact, and that a tie is wrong."""

from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.backbone.model import Backbone
from pipeline.metrics.changed_captions import ChangedCaption, prefer_own_captions, prefers
from pipeline.metrics.mean_codes import mean_codes
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions

from .axis_world import CHANNELS, random_scenes

BuildCache = Callable[..., ActivationCache]


def test_a_tie_is_no_preference_and_a_code_of_zeros_prefers_nothing() -> None:
    generator = np.random.default_rng(0)
    image, caption, other = generator.standard_normal((3, 50, 4))
    cosine = [
        (image * text).sum(1) / np.linalg.norm(image, axis=1) / np.linalg.norm(text, axis=1)
        for text in (caption, other)
    ]
    assert (prefers(image, caption, other) == (cosine[0] > cosine[1])).all()
    assert not prefers(image, caption, 3 * caption).any()
    assert not prefers(np.zeros_like(image), caption, other).any()


def test_shares_are_those_of_pictures_nearer_to_the_caption_than_to_the_changed_one(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache = build_cache(random_scenes(12, seed=0), noise=0.3)
    options = LucidOptions(latents=48, shared_ratio=0.5, k_shared=4, k_private=2)
    sae = LucidSAE(options, CHANNELS, CHANNELS).eval()
    captions = cache.samples["caption"].to_pylist()
    changed = [
        ChangedCaption(pair, captions[pair], kind, text)
        for pair in (1, 4, 7, 8, 11)
        for kind, text in (("noun", "two cats on the sea"), ("place", "the boat, a star"))
    ]
    changed += [ChangedCaption(3, captions[3], "same", captions[3])]
    means = mean_codes(sae, cache, 12, 64, "max")
    found = prefer_own_captions(sae, cache, backbone, changed, means, "max", 4)

    def code(text: str) -> torch.Tensor:
        ids, valid = backbone.tokenize([text])
        return sae.encode("text", backbone.encode_texts(ids).tokens[valid], "shared").dense(24).amax(0)

    right: dict[str, list[bool]] = {"noun": [], "place": [], "same": []}
    centred: list[bool] = []
    with torch.inference_mode():
        vision_mean, text_mean = (torch.from_numpy(means[side]) for side in ("vision", "text"))
        for pair, caption, kind, text in changed:
            image = (
                sae.encode("vision", cache.read_pairs(np.array([pair])).vision_tokens[0], "shared")
                .dense(24)
                .amax(0)
            )
            own, other = code(caption), code(text)
            cosines = [float(torch.cosine_similarity(image, some, dim=0)) for some in (own, other)]
            right[kind].append(cosines[0] - cosines[1] > 1e-6)
            less = [
                torch.cosine_similarity(image - vision_mean, some - text_mean, dim=0) for some in (own, other)
            ]
            centred.append(float(less[0] - less[1]) > 1e-6)
    assert found["codes"]["by_kind"] == {kind: np.mean(answers) for kind, answers in right.items()}
    assert found["codes"]["all"] == np.mean([*chain(*right.values())])
    assert found["centred"]["all"] == np.mean(centred)
    assert found["codes"]["by_kind"]["same"] == found["backbone"]["by_kind"]["same"] == 0
    without = prefer_own_captions(sae, cache, backbone, changed, None, "max", 100)
    assert without == {key: found[key] for key in ("codes", "backbone")}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_progress_reaches_the_number_of_questions(
    build_cache: BuildCache, backbone: Backbone, batch_size: int
) -> None:
    cache, calls = build_cache(random_scenes(6, seed=0)), []
    sae = LucidSAE(LucidOptions(latents=16, k_shared=2, k_private=2), CHANNELS, CHANNELS).eval()
    changed = [ChangedCaption(pair, "a cat", "noun", "a boat") for pair in range(6)]
    prefer_own_captions(
        sae,
        cache,
        backbone,
        changed,
        None,
        "max",
        batch_size,
        lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (6, 6)
