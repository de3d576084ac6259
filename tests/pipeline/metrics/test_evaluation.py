"""metrics.json as a whole: its keys, known answers, and what is skipped."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from cache import ActivationCache, CacheMissingError
from pipeline.backbone.model import Backbone
from pipeline.errors import ConfigError, RunError
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.options import EvaluateOptions
from pipeline.results.catalogue import SECTIONS
from pipeline.results.run import flatten
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import CHANNELS, NOUNS, Scene, Thing, axis_sae, random_scenes

BuildCache = Callable[..., ActivationCache]
OPTIONS = EvaluateOptions(batch_pairs=16, least_positives=3)
GROUNDING_KEYS = {"mass_at_object", "point_at_1", "iou_at_10"}
OF_OTHER_WORLDS = ("concepts.absorption", "concepts.splitting.")
"""Figures that concepts without a wider one, or latents that stand for none, do not have."""
MAPS = {"transport", "code", "uniform", "backbone", "swapped"}


def random_sae(shared_ratio: float = 0.5) -> LucidSAE:
    options = LucidOptions(latents=64, shared_ratio=shared_ratio, k_shared=3, k_private=2)
    return LucidSAE(options, CHANNELS, CHANNELS)


def random_vl_sae(**options: Any) -> VLSAE:
    return VLSAE(VLSAEOptions(**{"latents": 64, "k": 6, **options}), CHANNELS, CHANNELS)


def test_the_perfect_dictionary_is_perfect(build_cache: BuildCache, backbone: Backbone) -> None:
    metrics = evaluate(axis_sae(), build_cache(random_scenes(40, seed=0)), backbone, OPTIONS)
    reconstruction, concepts = metrics["reconstruction"], metrics["concepts"]
    for side in ("vision", "text"):
        assert reconstruction[side] == pytest.approx({"full_global": 1.0, "shared": 1.0})
        assert concepts["recovery"][side] == 1.0
    assert metrics["grounding"]["transport"]["point_at_1"] == 1.0
    assert metrics["grounding"]["transport"]["mass_at_object"] > 0.99
    assert concepts["near"]["count"] == len(NOUNS) == concepts["same_latent"]["count"]
    assert concepts["f1"]["joint"] == 1.0 > concepts["f1"]["chance"]["joint"]
    assert concepts["splitting"]["both"] == {
        "latents": len(NOUNS),
        "concepts": len(NOUNS),
        "latents_per_concept": 1.0,
        "concepts_per_latent": 1.0,
        "uniqueness": 1.0,
    }
    directions = metrics["concept_directions"]
    for side in ("vision", "text"):
        assert directions[side] > max(0.8, directions["chance"][side] + 0.1)
    assert concepts["joint"]["mean"] == concepts["joint"]["by_kind"]["noun"] == 1.0
    assert concepts["patch_ap"]["mean"] == 1.0
    assert metrics["consistency"]["auc"] > 0.95
    assert metrics["alignment"]["intra_similarity"] > metrics["alignment"]["inter_similarity"] + 0.2


def test_what_is_measured_is_described_in_the_catalogue_or_a_detail_of_it(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache = build_cache(random_scenes(40, seed=0))
    metrics = evaluate(random_sae(), cache, backbone, OPTIONS, training=cache)
    measured = set(flatten(metrics))
    described = {figure.key for section in SECTIONS for figure in section.figures}
    elsewhere = ("interpretation.", "changed_captions.", "edits.", "stability.", "probes.", *OF_OTHER_WORLDS)
    absent = {key for key in described if key.startswith(elsewhere) or ".by_kind." in key}
    assert described - absent <= measured
    details = (
        "counts.",
        "concepts.recovery.by_kind.",
        "concepts.prevalence.",
        "concepts.items.",
        "concepts.too_rare",
    )
    details += ("concepts.patch_ap.concepts", "alignment.latents", "alignment.dead.", "consistency.pairs")
    details += tuple(f"monosemanticity.{part}" for part in ("concepts", "latents.", "never.", "always."))
    assert {key for key in measured - described if not key.startswith(details)} == set()


def test_an_unrelated_dictionary_recovers_and_grounds_no_better_than_chance(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    metrics = evaluate(random_sae(), build_cache(random_scenes(60, seed=0), noise=3.0), backbone, OPTIONS)
    concepts, grounding = metrics["concepts"], metrics["grounding"]
    for side in ("vision", "text"):
        assert concepts["recovery"][side] == pytest.approx(concepts["chance"][side], abs=0.1)
    assert concepts["joint"]["mean"] == pytest.approx(concepts["joint"]["chance"], abs=0.1)
    for name in ("transport", "code", "swapped"):
        expected = grounding["uniform"]["point_at_1"]
        assert grounding[name]["point_at_1"] == pytest.approx(expected, abs=0.15)


def test_captions_of_other_images_ground_nothing(build_cache: BuildCache, backbone: Backbone) -> None:
    scenes = random_scenes(40, seed=0)
    swapped = [replace(scene, captions=other.captions) for scene, other in pairwise([*scenes, scenes[0]])]
    metrics = evaluate(axis_sae(), build_cache(swapped), backbone, OPTIONS)
    assert metrics["grounding"]["transport"]["point_at_1"] < 0.6
    assert metrics["reconstruction"]["text_to_vision"]["shared"] < 0.2


def test_keys_of_a_dictionary_with_private_latents(build_cache: BuildCache, backbone: Backbone) -> None:
    cache = build_cache(random_scenes(10, seed=0), noise=0.1)
    metrics = evaluate(random_sae(0.5), cache, backbone, OPTIONS, training=cache)
    assert set(metrics) == {
        "reconstruction",
        "grounding",
        "degeneracy",
        "concepts",
        "concept_directions",
        "alignment",
        "consistency",
        "retrieval",
        "modality",
        "monosemanticity",
        "counts",
    }
    reconstruction = metrics["reconstruction"]
    assert set(reconstruction) == {
        "vision",
        "text",
        "text_to_vision",
        "vision_to_text",
        "position",
        "positional",
    }
    for against in (reconstruction, reconstruction["positional"]):
        for side in ("vision", "text"):
            assert set(against[side]) == {"full_joint", "full_global", "shared", "private"}
        for direction in ("text_to_vision", "vision_to_text"):
            assert set(against[direction]) == {"shared", "full", "leak"}
    assert {name: set(scores) for name, scores in metrics["grounding"].items()} == dict.fromkeys(
        MAPS, GROUNDING_KEYS
    )
    assert set(metrics["degeneracy"]) == {"text_to_image", "image_to_text", "dead_shared", "dead_private"}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_keys_that_need_private_latents_are_absent_without_them(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    metrics = evaluate(random_sae(1.0), build_cache(random_scenes(6, seed=0), noise=0.1), backbone, OPTIONS)
    for side in ("vision", "text"):
        assert set(metrics["reconstruction"][side]) == {"full_global", "shared"}
    for direction in ("text_to_vision", "vision_to_text"):
        assert set(metrics["reconstruction"][direction]) == {"shared", "full"}
    assert "dead_private" not in metrics["degeneracy"]


def test_without_ground_truth_or_boxes_those_parts_are_absent(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    scenes = [Scene([], ["a sea"], truth=False), Scene([], ["two cats"], truth=False)] * 3
    cache = build_cache(scenes, noise=0.1)
    metrics = evaluate(random_sae(), cache, backbone, OPTIONS, training=cache)
    assert set(metrics) == {
        "reconstruction",
        "degeneracy",
        "alignment",
        "consistency",
        "retrieval",
        "modality",
        "monosemanticity",
        "counts",
        "not_defined",
    }
    assert set(metrics["not_defined"]) == {
        *("grounding", "concepts", "concept_directions"),
        "monosemanticity.text",  # two captions
    }
    assert metrics["not_defined"]["grounding"].startswith("no image of this split has a box;")
    assert metrics["counts"]["grounding_targets"] == 0


def test_without_a_backbone_only_the_uniform_map_is_scored(build_cache: BuildCache) -> None:
    metrics = evaluate(random_sae(), build_cache(random_scenes(8, seed=0), noise=0.1), None, OPTIONS)
    assert set(metrics["grounding"]) == {"uniform"}
    assert metrics["counts"]["without_backbone"] == metrics["counts"]["grounding_targets"] > 0
    assert {"reconstruction", "degeneracy", "concepts"} <= set(metrics)


def test_concepts_too_rare_to_score_are_counted(build_cache: BuildCache) -> None:
    metrics = evaluate(random_sae(), build_cache(random_scenes(8, seed=0)), None, EvaluateOptions())
    assert metrics["concepts"] == {"concepts": 0, "too_rare": len(NOUNS)}


def test_everything_is_counted(build_cache: BuildCache, backbone: Backbone) -> None:
    corner, elsewhere = (range(0, 2), range(0, 2)), (range(2, 4), range(2, 4))
    scenes = [
        Scene([Thing("cat", *corner), Thing("boat", *elsewhere)], ["two cats", "the sea"], listed=["star"]),
        Scene([Thing("fish", *corner)], ["a fish", "a sea"], skipped=frozenset({1})),
    ]
    counts = evaluate(axis_sae(), build_cache(scenes), backbone, OPTIONS)["counts"]
    assert counts == {
        "pairs": 3,
        "images": 2,
        "patches": 32,
        "tokens": 6,
        "skipped": 1,
        "without_boxes": 1,
        "grounding_targets": 3,
        "grounded_by_caption": 2,
        "grounded_by_prompt": 1,
        "swapped": 3,
    }


def test_a_category_outside_the_vocabulary_is_skipped_and_counted(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    scenes = random_scenes(4, seed=0)
    strange = Scene([Thing("zebra", range(0, 1), range(0, 1))], ["a photo"])
    counts = evaluate(axis_sae(), build_cache([*scenes, strange]), backbone, OPTIONS)["counts"]
    assert counts["unknown_to_tokenizer"] == 1


def test_results_are_the_same_again_and_for_any_batch_size(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache, sae = build_cache(random_scenes(20, seed=4), noise=0.4), random_sae()
    first = evaluate(sae, cache, backbone, OPTIONS, training=cache)
    assert evaluate(sae, cache, backbone, OPTIONS, training=cache) == first
    other = evaluate(sae, cache, backbone, OPTIONS.model_copy(update={"batch_pairs": 3}), training=cache)
    assert other.pop("not_defined") == first.pop("not_defined")
    assert flat(other) == pytest.approx(flat(first), rel=1e-4, abs=1e-6)


def flat(metrics: object, key: str = "") -> dict[str, float]:
    if isinstance(metrics, dict):
        return {path: v for name, part in metrics.items() for path, v in flat(part, f"{key}/{name}").items()}
    return {key: metrics}


def test_progress_reaches_the_number_of_pairs(build_cache: BuildCache) -> None:
    calls: list[tuple[int, int]] = []
    cache = build_cache(random_scenes(20, seed=4))
    evaluate(axis_sae(), cache, None, OPTIONS, lambda done, total: calls.append((done, total)))
    assert calls == [(16, 20), (20, 20)]


def test_a_dictionary_of_another_width_is_refused(build_cache: BuildCache) -> None:
    sae = LucidSAE(LucidOptions(latents=16, k_shared=1, k_private=1), CHANNELS + 1, CHANNELS)
    with pytest.raises(RunError, match=f"{CHANNELS} vision channels.*trained on {CHANNELS + 1}"):
        evaluate(sae, build_cache(random_scenes(2, seed=0)), None, OPTIONS)


def test_what_pooled_inputs_cannot_answer_is_left_out_and_named(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache = build_cache(random_scenes(30, seed=0), noise=0.1)
    metrics = evaluate(random_vl_sae(), cache, backbone, OPTIONS, training=cache)
    assert set(metrics) == {
        *("reconstruction", "degeneracy", "concepts", "concept_directions", "alignment", "consistency"),
        *("retrieval", "modality", "monosemanticity", "counts", "not_defined"),
    }
    without = {key for key in metrics["not_defined"] if not key.startswith(OF_OTHER_WORLDS)}
    assert without == {"grounding", "concepts.patch_ap"}
    assert "patch_ap" not in metrics["concepts"]
    for side in ("vision", "text"):
        assert set(metrics["reconstruction"][side]) == {"full_global", "shared"}
    for direction in ("text_to_vision", "vision_to_text"):
        assert set(metrics["reconstruction"][direction]) == {"shared", "full"}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_a_dictionary_that_copies_its_embeddings_explains_both_sides_and_crosses_them(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    sae = random_vl_sae(latents=CHANNELS, k=CHANNELS, encoder="affine")
    with torch.no_grad():
        for name, value in sae.named_parameters():
            value.copy_(torch.eye(CHANNELS) if name.endswith("weight") else torch.zeros(len(value)))
    metrics = evaluate(sae, build_cache(random_scenes(30, seed=0)), backbone, OPTIONS)
    # The captions name all that the images show, and the embeddings of the two are the same.
    for part in ("vision", "text", "text_to_vision", "vision_to_text"):
        assert metrics["reconstruction"][part]["shared"] == pytest.approx(1.0)
    assert metrics["concepts"]["recovery"]["vision"] == metrics["concepts"]["recovery"]["text"] == 1.0
    assert metrics["concepts"]["same_latent"]["share"] == 1.0
    alignment = metrics["alignment"]
    assert alignment["intra_similarity"] == pytest.approx(1.0, abs=0.02)
    assert alignment["dead"] == {
        "vision_only": 0,
        "text_only": 0,
        "both_sides": CHANNELS - len(NOUNS) - 1,
    }


def test_a_dictionary_of_tokens_is_asked_everything_whatever_its_architecture(
    build_cache: BuildCache, backbone: Backbone
) -> None:
    cache = build_cache(random_scenes(10, seed=0), noise=0.1)
    metrics = evaluate(random_vl_sae(inputs="tokens"), cache, backbone, OPTIONS, training=cache)
    assert set(metrics["grounding"]) == MAPS
    assert "not_defined" not in metrics


def test_another_backbones_cache_may_judge(build_cache: BuildCache) -> None:
    scenes = random_scenes(20, seed=0)
    cache, judge = build_cache(scenes), build_cache(scenes, noise=0.5, name="judge")
    options = OPTIONS.model_copy(update={"judge": str(judge)})
    own, others = (evaluate(axis_sae(), cache, None, options)["alignment"] for options in (OPTIONS, options))
    assert own["intra_similarity"] != others["intra_similarity"]
    assert own["dead"] == others["dead"]
    missing = OPTIONS.model_copy(update={"judge": str(cache.path.with_name("nowhere.zarr"))})
    with pytest.raises(CacheMissingError, match="nowhere"):
        evaluate(axis_sae(), cache, None, missing)


def test_pooled_embeddings_of_another_width_are_refused(build_cache: BuildCache) -> None:
    sae = VLSAE(VLSAEOptions(latents=16, k=1), CHANNELS + 1, CHANNELS + 1)
    with pytest.raises(RunError, match=f"{CHANNELS} vision channels.*trained on {CHANNELS + 1}"):
        evaluate(sae, build_cache(random_scenes(2, seed=0)), None, OPTIONS)


@pytest.mark.parametrize("prompt", ["a photo", "{category} and {category}", "{category} {size}"])
def test_a_prompt_without_exactly_one_category_is_refused(prompt: str) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.prompt"):
        EvaluateOptions.parse({"prompt": prompt}, "evaluate")
