"""The committed weights against the bars of their model card, on scenes rendered here."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.world.pretraining.evaluation import evaluate
from pipeline.world.scenes.scene import KINDS

FOLDER = Path("models/tiny-siglip")
SEED = 77
"""Neither a seed of the training nor the one the model card's figures were measured with."""


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return evaluate(load_backbone(BackboneOptions(model=f"local-dir:{FOLDER}")), SEED, single=130)


def test_weights_are_small_enough_to_commit() -> None:
    assert (FOLDER / "open_clip_model.safetensors").stat().st_size <= 20 * 2**20


def test_five_hundred_scenes_and_captions_find_each_other(figures: dict[str, Any]) -> None:
    assert min(figures["retrieval"].values()) >= 0.85


@pytest.mark.parametrize("kind", ["noun", "colour", "setting"])
def test_what_is_shown_is_named_without_training(figures: dict[str, Any], kind: str) -> None:
    assert figures["zero_shot"][kind] >= 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_with_one_fact_changed_is_told_apart(figures: dict[str, Any], kind: str) -> None:
    assert figures["changed_fact"][kind] >= 0.90


def test_a_patch_token_says_which_noun_it_shows(figures: dict[str, Any]) -> None:
    assert figures["probe"] >= 0.70


def test_the_most_similar_patch_lies_on_the_named_thing(figures: dict[str, Any]) -> None:
    assert figures["point_at_1"] >= 0.90


def test_the_model_card_quotes_the_measured_figures() -> None:
    measured = json.loads((FOLDER / "evaluation.json").read_text())
    card = (FOLDER / "README.md").read_text()
    flat = [
        *measured["retrieval"].values(),
        *measured["zero_shot"].values(),
        *measured["changed_fact"].values(),
    ]
    for figure in (*flat, measured["probe"], measured["point_at_1"]):
        assert f"{figure:.3f}" in card
