import torch

from pipeline.world.pretraining.architecture import GRID
from pipeline.world.pretraining.facts import (
    BACKGROUND,
    phrase_facts,
    scene_facts,
    truth_of_images,
    truth_of_patches,
)
from pipeline.world.scenes.scene import Place, Scene, Thing


def _at(x: float, y: float) -> Place:
    return Place(x - 0.1, y - 0.1, 0.2, 0.2, flip=False)


SEA = Scene(
    "sea",
    (Thing("boat", "red", "small", "two", "sailing"), Thing("cat", "black", "large")),
    None,
    ((_at(0.1, 0.5), _at(0.5, 0.5)), (_at(0.8, 0.5),)),
)
BEACH = Scene("beach", (Thing("boat", "blue", "small"),), None, ((_at(0.5, 0.2),),))
PAIR = Scene(
    "snow",
    (Thing("boat", "red", "small"), Thing("cat", "black", "large")),
    "left of",
    ((_at(0.2, 0.5),), (_at(0.8, 0.5),)),
)
SCENES = scene_facts([SEA, BEACH, PAIR])

PHRASES = {
    "a boat": (["noun:boat", "count:one"], False),
    "two boats": (["noun:boat", "count:two"], True),
    "one boat": (["noun:boat", "count:one"], True),
    "a red boat": (["noun:boat", "colour:red", "count:one"], False),
    "a red cat": (["noun:cat", "colour:red", "count:one"], False),
    "something large": (["size:large"], False),
    "a boat sailing": (["noun:boat", "action:sailing", "count:one"], False),
    "the sea": (["setting:sea"], False),
    "a dog": (["noun:dog", "count:one"], False),
    "a cat to the left of something": (["noun:cat", "relation:left of", "count:one"], False),
    "a cat to the right of something": (["noun:cat", "relation:right of", "count:one"], False),
    "a cat above something": (["noun:cat", "relation:above", "count:one"], False),
    "a cat on the right": (["noun:cat", "across:right", "count:one"], False),
    "a boat above": (["noun:boat", "along:above", "count:one"], False),
    "on the left": (["across:left"], False),
    "something below": (["along:below"], False),
}
NOT_STATED = {"a cat to the left of something", "a cat to the right of something", "a cat above something"}
FACTS = phrase_facts(
    [concepts for concepts, _ in PHRASES.values()], [counted for _, counted in PHRASES.values()]
)


def _of(row: torch.Tensor) -> set[str]:
    return {text for text, value in zip(PHRASES, row.tolist(), strict=True) if value}


def test_a_phrase_is_true_of_an_image_when_one_of_its_things_has_every_look() -> None:
    truth = truth_of_images(SCENES, FACTS)
    assert _of(truth.true[0]) == {
        "two boats",
        "something large",
        "the sea",
        "a cat on the right",
        "on the left",
    }
    assert _of(truth.true[1]) == {"a boat", "one boat", "a boat above"}


def test_one_of_several_alike_is_left_undecided_unless_the_count_is_a_word() -> None:
    truth = truth_of_images(SCENES, FACTS)
    assert set(PHRASES) - _of(truth.scored[0]) == {
        *("a boat", "a red boat", "a boat sailing", "something below"),
        *NOT_STATED,
    }
    assert set(PHRASES) - _of(truth.scored[1]) == {"on the left"}


def test_a_relation_is_decided_on_its_axis_only() -> None:
    truth = truth_of_images(SCENES, FACTS)
    assert _of(truth.true[2]) & NOT_STATED == {"a cat to the right of something"}
    assert set(PHRASES) - _of(truth.scored[2]) == {
        *("a cat above something", "a boat above", "something below"),
    }


UPPER_LEFT, LOWER_RIGHT, CENTRE = 0, GRID * GRID - 1, GRID // 2 * GRID + GRID // 2


def test_a_patch_shows_the_looks_of_its_thing_and_leaves_count_and_setting_undecided() -> None:
    truth = truth_of_patches(
        SCENES, torch.tensor([0, 0]), torch.tensor([CENTRE, LOWER_RIGHT]), torch.tensor([0, 1]), FACTS
    )
    assert _of(truth.true[0] & truth.scored[0]) == {"a boat", "a red boat", "a boat sailing"}
    halves = {"a boat above", "on the left", "something below"}
    assert set(PHRASES) - _of(truth.scored[0]) == {"two boats", "one boat", "the sea"} | halves
    assert _of(truth.true[1] & truth.scored[1]) == {
        "something large",
        "a cat on the right",
        "something below",
    }
    assert set(PHRASES) - _of(truth.scored[1]) == {"the sea"} | NOT_STATED


def test_a_background_patch_shows_the_setting_its_place_and_no_named_thing() -> None:
    truth = truth_of_patches(
        SCENES,
        torch.tensor([0, 1, 0]),
        torch.tensor([UPPER_LEFT, LOWER_RIGHT, CENTRE]),
        torch.tensor([BACKGROUND] * 3),
        FACTS,
    )
    assert _of(truth.true[0]) == {"the sea", "on the left"}
    assert _of(truth.true[1]) == {"something below"}
    assert set(PHRASES) - _of(truth.scored[0]) == {"something large"}
    assert set(PHRASES) - _of(truth.scored[2]) == {"something large", "on the left", "something below"}
