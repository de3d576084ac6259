"""Retrieval by codes against brute force over all combinations, and ties against it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import ActivationCache
from pipeline.matching.readout import fit_image_level
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.items import Items, read_items
from pipeline.metrics.mean_codes import mean_codes
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.ranking import pessimistic_ranks, recalls
from pipeline.metrics.retrieval import RetrievalMeter, ranks_of
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.sides import SIDES, Side

from .axis_world import CHANNELS, Scene, axis_sae, random_scenes

BuildCache = Callable[..., ActivationCache]


def measure(
    cache: ActivationCache, sae: SparseAutoencoder, means: Mapping[Side, np.ndarray] | None = None
) -> dict:
    meter = RetrievalMeter(read_items(cache), "max", means)
    with torch.inference_mode():
        for batch in cache.iterate(7):
            meter.update(encode_batch(sae, batch, torch.device("cpu")))
    return meter.result()


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=6), st.data())
def test_a_rank_counts_every_wrong_candidate_that_is_not_below_the_best_right_one(
    rows: list, data: st.DataObject
) -> None:
    scores = np.array(rows) / 3
    right = np.array(
        data.draw(
            st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=len(rows), max_size=len(rows))
        )
    )
    right[:, 0] |= ~right.any(axis=1)
    found = pessimistic_ranks(scores, right)
    for query, (row, answers) in enumerate(zip(rows, right, strict=True)):
        best = max(score for score, answer in zip(row, answers, strict=True) if answer)
        wrong = [score for score, answer in zip(row, answers, strict=True) if not answer]
        assert found.rank[query] == 1 + sum(score >= best for score in wrong)
        assert found.tied[query] == sum(score == best for score in wrong)


def test_codes_of_zeros_and_codes_that_are_all_the_same_find_nothing() -> None:
    items = Items({"vision": np.arange(20), "text": np.arange(20)})
    for codes in (np.zeros((20, 4)), np.ones((20, 4)), np.full((20, 4), np.nan)):
        found = ranks_of({"vision": codes, "text": codes}, items, "text", "vision")
        assert (found.rank == 20).all()
    assert recalls(found)["recall_at_10"] == 0


def test_ranks_are_those_of_every_caption_held_against_every_image(build_cache: BuildCache) -> None:
    scenes = [Scene(scene.things, [*scene.captions, "the sea"]) for scene in random_scenes(8, seed=2)]
    cache = build_cache([*scenes, *random_scenes(12, seed=3)], noise=0.4)
    options = LucidOptions(latents=48, shared_ratio=0.5, k_shared=3, k_private=2)
    sae = LucidSAE(options, CHANNELS, CHANNELS).eval()
    batch = cache.read_pairs(np.arange(cache.pairs))
    with torch.inference_mode():
        vision = [sae.encode("vision", rows, "shared").dense(24).amax(0) for rows in batch.vision_tokens]
        captions = batch.text_tokens.tensor_split(batch.text_offsets[1:-1])
        text = [sae.encode("text", rows, "shared").dense(24).amax(0) for rows in captions]
    rows = cache.samples.to_pylist()
    shown = {
        row["caption"]: {other["image_row"] for other in rows if other["caption"] == row["caption"]}
        for row in rows
    }
    said = {
        row["image_row"]: {other["caption"] for other in rows if other["image_row"] == row["image_row"]}
        for row in rows
    }
    last_to_first = list(enumerate(rows))[::-1]  # of equal items the first counts
    images = {row["image_row"]: vision[number].double() for number, row in last_to_first}
    texts = {row["caption"]: text[number].double() for number, row in last_to_first}

    def share_at(most: int, asks: dict, answers: dict, right: dict) -> float:
        found = []
        for name, code in asks.items():
            scores = {
                other: float(torch.cosine_similarity(code, answer, dim=0))
                for other, answer in answers.items()
            }
            best = max(scores[answer] for answer in right[name])
            found.append(
                1 + sum(score >= best - 1e-9 for other, score in scores.items() if other not in right[name])
                <= most
            )
        return float(np.mean(found))

    found = measure(cache, sae)["codes"]
    for most in (1, 5, 10):
        assert found["text_to_image"][f"recall_at_{most}"] == share_at(most, texts, images, shown)
        assert found["image_to_text"][f"recall_at_{most}"] == share_at(most, images, texts, said)


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    items = Items({"vision": np.repeat(np.arange(15), 2), "text": generator.permutation(30)})
    vectors = {"vision": generator.random((15, 6)), "text": generator.random((30, 6))}
    whole = ranks_of(vectors, items, "text", "vision")
    monkeypatch.setattr("pipeline.metrics.retrieval._SCORES_AT_ONCE", 40)
    parts = ranks_of(vectors, items, "text", "vision")
    assert (whole.rank == parts.rank).all() and (whole.tied == parts.tied).all()


def test_the_order_of_latents_and_of_pairs_and_the_numbers_of_items_change_nothing() -> None:
    generator = np.random.default_rng(1)
    items = Items({"vision": np.arange(40), "text": np.arange(40)})
    image, caption = (generator.integers(0, 3, (40, 9)).astype(float) for _ in range(2))
    ranks = ranks_of({"vision": image, "text": caption}, items, "text", "vision").rank
    latents, pairs = generator.permutation(9), generator.permutation(40)
    others = Items({"vision": generator.permutation(40), "text": generator.permutation(40)})
    vectors = {"vision": image[pairs][:, latents], "text": caption[pairs][:, latents]}
    assert (ranks_of(vectors, others, "text", "vision").rank == ranks[pairs]).all()


def test_the_perfect_dictionary_finds_what_the_backbone_finds_and_deranged_captions_fall_to_chance(
    build_cache: BuildCache,
) -> None:
    scenes = list({scene.captions[0]: scene for scene in random_scenes(60, seed=0)}.values())
    shifted = [replace(scene, captions=scenes[number - 3].captions) for number, scene in enumerate(scenes)]
    paired, deranged = (
        measure(build_cache(some, name=name), axis_sae()) for some, name in ((scenes, "a"), (shifted, "b"))
    )
    assert paired["codes"] == paired["backbone"] and paired["codes"]["text_to_image"]["recall_at_5"] > 0.9
    assert deranged["codes"]["text_to_image"]["recall_at_1"] < 0.1
    assert deranged["backbone"]["image_to_text"]["recall_at_1"] < 0.1


def test_the_mean_codes_are_those_of_pairs_spread_over_the_cache(build_cache: BuildCache) -> None:
    cache, sae = build_cache(random_scenes(30, seed=1), noise=0.3), axis_sae()
    batch = cache.read_pairs(np.array([0, 4, 8, 12, 16, 20, 24]))
    with torch.inference_mode():
        vision = [
            sae.encode("vision", rows, "shared").dense(CHANNELS).amax(0) for rows in batch.vision_tokens
        ]
    for batch_pairs in (2, 64):
        found = mean_codes(sae, cache, 7, batch_pairs, "max")
        assert found["vision"] == pytest.approx(torch.stack(vision).mean(0).numpy(), abs=1e-6)
    everything = mean_codes(sae, cache, 1000, 64, "max")
    assert everything["text"] == pytest.approx(mean_codes(sae, cache, 30, 64, "max")["text"])


def test_mean_codes_are_those_that_evaluation_pools_image_level_latents_included(
    build_cache: BuildCache,
) -> None:
    cache = build_cache(random_scenes(30, seed=1), noise=0.3)
    options = LucidOptions(latents=48, k_shared=2, k_private=4, image_level={"latents": 6, "k": 2})
    sae = initial_sae(options, cache, seed=0).eval()
    fit_image_level(sae, cache, 16)
    with torch.inference_mode():
        encoded = encode_batch(sae, cache.read_pairs(np.arange(30)), torch.device("cpu"))
    found = mean_codes(sae, cache, 30, 7, "max")
    for side in SIDES:
        assert found[side][-6:].any()
        assert found[side] == pytest.approx(encoded.pooled(side, "max").mean(0).numpy(), abs=1e-5)


def test_centred_codes_are_those_less_the_means_which_need_training_pairs(build_cache: BuildCache) -> None:
    cache, sae, generator = build_cache(random_scenes(40, seed=0)), axis_sae(), np.random.default_rng(0)
    assert isinstance(measure(cache, sae)["centred"], NotDefined)
    means = {side: generator.random(CHANNELS) for side in SIDES}
    items = read_items(cache)
    with torch.inference_mode():
        encoded = encode_batch(sae, cache.read_pairs(np.arange(40)), torch.device("cpu"))
    codes = {side: encoded.pooled(side, "max").numpy()[items.first(side)] - means[side] for side in SIDES}
    found = measure(cache, sae, means)["centred"]
    assert found["text_to_image"] == recalls(ranks_of(codes, items, "text", "vision"))
    assert found["image_to_text"] == recalls(ranks_of(codes, items, "vision", "text"))
