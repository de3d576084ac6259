"""Intra- and inter-similarity against brute force over every item, one latent after another."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.metrics.alignment import AlignmentMeter, similarities
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.items import TopItems, read_items
from pipeline.metrics.judge import CachedJudge
from pipeline.metrics.not_defined import tell_apart
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import Inputs
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import CHANNELS, Scene, random_scenes

BuildCache = Callable[..., ActivationCache]
LATENTS, RANKS = 40, 3


class GivenJudge:
    """Random embeddings of every pair, whatever they show."""

    def __init__(self, pairs: int, text_embedding: int = 7) -> None:
        generator = np.random.default_rng(5)
        widths = {"vision": 7, "text": text_embedding}
        self.embeddings = {side: generator.standard_normal((pairs, widths[side])) for side in SIDES}

    def embed(self, side: str, pairs: np.ndarray) -> np.ndarray:
        return self.embeddings[side][pairs].astype(np.float32)


def make_sae(inputs: Inputs) -> SparseAutoencoder:
    """LUCID's shared latents are half of all; VL-SAE's are few enough to be dead on a side."""
    if inputs == "tokens":
        return LucidSAE(
            LucidOptions(latents=2 * LATENTS, shared_ratio=0.5, k_shared=2), CHANNELS, CHANNELS
        ).eval()
    return VLSAE(VLSAEOptions(latents=LATENTS, k=2), CHANNELS, CHANNELS).eval()


def shuffled_scenes() -> list[Scene]:
    """Some images have two captions, and many captions are of several images."""
    scenes = random_scenes(40, seed=6)
    scenes[::4] = [replace(scene, captions=[*scene.captions, "the sea"]) for scene in scenes[::4]]
    return scenes


def measure(
    cache: ActivationCache,
    sae: SparseAutoencoder,
    judge: object,
    batch_pairs: int = 7,
    draws: int = 1000,
    seed: int = 0,
) -> dict:
    meter = AlignmentMeter(read_items(cache), LATENTS, judge, draws, RANKS, seed, "max")
    with torch.inference_mode():
        for batch in cache.iterate(batch_pairs):
            meter.update(encode_batch(sae, batch, torch.device("cpu")))
    return meter.result()


def brute_force_activations(
    cache: ActivationCache, sae: SparseAutoencoder
) -> dict[str, dict[int, np.ndarray]]:
    """Per side, and per pair that is the first with its item, the largest code over the item's tokens."""
    rows = [row for row in cache.samples.to_pylist() if row["pair"] is not None]
    batch = cache.read_pairs(np.arange(cache.pairs))
    keys = {"vision": "image_row", "text": "caption"}
    activations = {}
    for side in SIDES:
        seen, found = set(), {}
        for row in rows:
            if row[keys[side]] in seen:
                continue
            seen.add(row[keys[side]])
            pair = row["pair"]
            if not sae.reader.knows_places:
                tokens = (batch.vision_pooled if side == "vision" else batch.text_pooled)[pair, None]
            elif side == "vision":
                tokens = batch.vision_tokens[pair]
            else:
                tokens = batch.text_tokens[batch.text_offsets[pair] : batch.text_offsets[pair + 1]]
            with torch.inference_mode():
                found[pair] = sae.encode(side, tokens, "shared").dense(LATENTS).numpy().max(axis=0)
        activations[side] = found
    return activations


def brute_force(cache: ActivationCache, sae: SparseAutoencoder, judge: GivenJudge) -> dict:
    concepts: dict[str, dict[int, np.ndarray]] = {side: {} for side in SIDES}
    for side, activations in brute_force_activations(cache, sae).items():
        for latent in range(LATENTS):
            firing = [pair for pair in sorted(activations) if activations[pair][latent] > 0]
            top = sorted(firing, key=lambda pair: (-activations[pair][latent], pair))[:RANKS]
            if top:
                mean = np.mean([judge.embeddings[side][pair] for pair in top], axis=0)
                concepts[side][latent] = mean / np.linalg.norm(mean)
    both = sorted(concepts["vision"].keys() & concepts["text"].keys())
    cosines = {(i, j): concepts["vision"][i] @ concepts["text"][j] for i in both for j in both}
    return {
        "intra_similarity": np.mean([cosines[i, i] for i in both]),
        "inter_similarity": np.mean(
            [(cosines[i, j] + cosines[j, i]) / 2 for i in both for j in both if i < j]
        ),
        "latents": len(both),
        "alive": len(both),
        "dead": {
            "vision_only": len(concepts["text"].keys() - concepts["vision"].keys()),
            "text_only": len(concepts["vision"].keys() - concepts["text"].keys()),
            "both_sides": LATENTS - len(concepts["vision"].keys() | concepts["text"].keys()),
        },
    }


@pytest.mark.parametrize("inputs", ["tokens", "pooled"])
@pytest.mark.parametrize("batch_pairs", [7, 100])
def test_similarities_and_dead_latents_are_those_of_brute_force(
    build_cache: BuildCache, inputs: Inputs, batch_pairs: int
) -> None:
    cache, sae = build_cache(shuffled_scenes(), noise=0.5), make_sae(inputs)
    judge = GivenJudge(cache.pairs)
    found, expected = measure(cache, sae, judge, batch_pairs), brute_force(cache, sae, judge)
    assert found.pop("dead") == expected.pop("dead")
    assert expected["latents"] > 3
    assert found == pytest.approx(expected, abs=1e-6)


def test_latents_are_drawn_by_seed_from_those_alive_on_both_sides(build_cache: BuildCache) -> None:
    cache, sae = build_cache(shuffled_scenes(), noise=0.5), make_sae("tokens")
    judge = GivenJudge(cache.pairs)
    first, again, other = (measure(cache, sae, judge, draws=5, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["latents"] == 5 < first["alive"]
    assert first["intra_similarity"] != other["intra_similarity"]


def test_no_latent_alive_on_both_sides_leaves_the_counts(build_cache: BuildCache) -> None:
    cache, sae = build_cache(random_scenes(4, seed=0)), make_sae("pooled")
    with torch.no_grad():
        for value in sae.parameters():
            value.zero_()
    cosine = VLSAE(VLSAEOptions(latents=LATENTS, k=2, encoder="cosine"), CHANNELS, CHANNELS).eval()
    cosine.load_state_dict(sae.state_dict())
    dead = {"vision_only": 0, "text_only": 0, "both_sides": LATENTS}
    figures = tell_apart(measure(cache, cosine, GivenJudge(4)))
    assert figures.values == {"latents": 0, "alive": 0, "dead": dead}
    none_alive = "no shared latent fires on both sides of this split"
    assert figures.reasons == {"intra_similarity": none_alive, "inter_similarity": none_alive}


def test_inter_similarity_does_not_depend_on_the_order_of_latents_or_sides() -> None:
    generator = np.random.default_rng(0)
    images, captions = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in generator.random((2, 6, 4))
    )
    order = generator.permutation(6)
    expected = similarities(images, captions)
    assert similarities(images[order], captions[order]) == pytest.approx(expected)
    assert similarities(captions, images) == pytest.approx(expected)


def test_one_latent_has_nothing_to_differ_from() -> None:
    assert tell_apart(similarities(np.eye(1, 3), np.eye(1, 3))).values == {"intra_similarity": 1.0}


def test_a_judge_of_two_dimensions_is_refused(build_cache: BuildCache) -> None:
    cache = build_cache(random_scenes(6, seed=0))
    with pytest.raises(RunError, match="images in 7 dimensions and captions in 8"):
        measure(cache, make_sae("pooled"), GivenJudge(cache.pairs, text_embedding=8))


def test_the_earlier_of_equally_strong_items_ranks_first_for_any_batches() -> None:
    activation = torch.tensor([[1.0, 0.0], [2.0, 0.0], [2.0, 3.0], [1.0, 0.0]])
    for size in (1, 2, 4):
        top = TopItems(latents=2, ranks=3)
        for rows in torch.arange(4).split(size):
            top.update(activation[rows], 10 + rows)
        assert top.item[0].tolist() == [11, 12, 10]
        assert top.item[1, 0] == 12 and top.activation[1].tolist() == [3, 0, 0]
        assert top.alive.tolist() == [True, True]


def test_an_image_is_one_item_however_many_captions_and_a_wording_one_however_many_images(
    build_cache: BuildCache,
) -> None:
    scenes = [Scene([], ["a cat", "the sea"]), Scene([], ["the sea"]), Scene([], ["a cat", "a boat"])]
    items = read_items(build_cache(scenes))
    assert items.of_side["vision"].tolist() == [0, 0, 1, 2, 2]
    assert items.first("vision").tolist() == [True, False, True, True, False]
    assert items.first("text").tolist() == [True, True, False, False, True]


def test_another_cache_judges_by_ids_whatever_its_order(build_cache: BuildCache) -> None:
    scenes = shuffled_scenes()[:9]
    cache = build_cache(scenes)
    judge = CachedJudge(reordered(build_cache, scenes), cache, batch_pairs=4)
    own = CachedJudge(cache, cache, batch_pairs=4)
    pairs = np.array([5, 0, 7, 3, 2, 8])
    for side in SIDES:
        np.testing.assert_array_equal(judge.embed(side, pairs), own.embed(side, pairs))
    expected = cache.read_pairs(pairs)
    np.testing.assert_array_equal(own.embed("vision", pairs), expected.vision_pooled.numpy())
    np.testing.assert_array_equal(own.embed("text", pairs), expected.text_pooled.numpy())


def test_a_judge_that_lacks_pairs_is_refused(build_cache: BuildCache) -> None:
    scenes = shuffled_scenes()[:9]
    cache = build_cache(scenes)
    with pytest.raises(
        RunError, match=r"evaluate.judge: .*lacks 2 of the 12 pairs .*image 108 with caption 80"
    ):
        CachedJudge(build_cache(scenes[:8], name="fewer"), cache, batch_pairs=4)


def reordered(build_cache: BuildCache, scenes: list[Scene]) -> ActivationCache:
    """The same pairs as the cache of `scenes`, under the same ids, backwards."""
    numbered = [replace(scene, number=number) for number, scene in enumerate(scenes)]
    return build_cache(numbered[::-1], name="backwards")
