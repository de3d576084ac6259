"""In a tiny world settings are no shared latents: they are image-level ones, and named by whole pictures."""

import json

import picture_world
import pytest

from pipeline.interpretation.latent_table import METADATA_KEY
from pipeline.interpretation.naming import interpret
from pipeline.interpretation.options import InterpretOptions

MODEL = picture_world.WordModel()
MEADOW, SEA = picture_world.MEADOW, picture_world.SEA


@pytest.fixture(scope="module")
def table(cache, options):
    return interpret(picture_world.sae_with_settings(), cache, MODEL, options)


def score_of(table):
    return json.loads(table.schema.metadata[METADATA_KEY])["score"]


def test_image_level_latents_follow_the_shared_ones_under_the_numbers_of_the_private_latents_of_text(table):
    assert table["latent"].to_pylist() == [0, 1, 2, 3, MEADOW, SEA]
    assert table["name"].to_pylist() == ["boat", "cat", "red", "blue", "meadow", "sea"]
    assert table["named"].to_pylist() == [True] * 6
    assert table["confidence"].to_pylist() == [None] * 4 + [pytest.approx(0.9)] * 2


def test_they_are_shown_by_whole_pictures_and_by_the_words_that_fire_them(table):
    meadow = table.to_pylist()[4]
    shown = [picture for picture in picture_world.pictures() if picture.skip_reason is None]
    assert meadow["vision_frequency"] == sum(p.setting == "meadow" for p in shown) / len(shown)
    assert {image["patch"] for image in meadow["top_images"]} == {None}
    for caption in meadow["top_captions"]:
        assert caption["words"][caption["position"]]["text"] == "meadow"
        assert max(caption["activations"]) == caption["activations"][caption["position"]] == 3.0


def test_their_names_are_scored_apart_and_together_with_the_others(table):
    score = score_of(table)
    assert (score["named"], score["correct"], score["distinct_concepts"]) == (4, 4, 4)
    whole = score["image_level"]
    assert (whole["named"], whole["correct"], whole["kinds"]) == (
        2,
        2,
        {"setting": {"named": 2, "correct": 2}},
    )
    assert score["together"] == {"named": 6, "correct": 6, "distinct_concepts": 6}


def test_what_pictures_tell_wrongly_is_named_wrong(cache, options):
    crossed = picture_world.sae_with_settings()
    crossed.image_level.weight.copy_(
        crossed.image_level.weight.flip(0)
    )  # a picture's score is that of the other
    score = score_of(interpret(crossed, cache, MODEL, options))
    assert score["image_level"]["correct"] == 0 < score["image_level"]["named"]
    assert (score["correct"], score["together"]["correct"]) == (4, 4)


def test_a_latent_whose_score_says_little_of_captions_gets_no_name(cache, options):
    unsure = interpret(picture_world.sae_with_settings(confidence=0.4), cache, MODEL, options)
    assert unsure["named"].to_pylist() == [True] * 4 + [False] * 2
    assert unsure["name"].to_pylist()[4:] == ["meadow", "sea"]
    lower = InterpretOptions(**(options.model_dump() | {"minimum_confidence": 0.3}))
    assert (
        interpret(picture_world.sae_with_settings(confidence=0.4), cache, MODEL, lower)["named"].to_pylist()
        == [True] * 6
    )
