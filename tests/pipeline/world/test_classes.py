"""Pictures of single objects, drawn by class."""

import pytest

from pipeline.world import classes
from pipeline.world.classes import (
    Vocabulary,
    class_names,
    class_prompts,
    draw_pictures,
    looks_by_class,
)
from pipeline.world.scenes.draw import RenderedScene, render
from pipeline.world.scenes.sampling import Combinations
from pipeline.world.scenes.scene import Scene, held_out


def test_there_are_26_nouns_and_260_colours_and_nouns() -> None:
    assert [len(set(class_names(one))) for one in ("nouns", "colours_and_nouns")] == [26, 260]


def test_prompts_have_the_article_that_fits() -> None:
    assert class_prompts(["cat", "orange boat"]) == [
        ["a photo of a cat", "a picture of a cat", "a drawing of a cat"],
        ["a photo of an orange boat", "a picture of an orange boat", "a drawing of an orange boat"],
    ]


def test_a_seed_draws_the_same_pictures_and_another_one_others() -> None:
    first, again, other = (
        [picture.digest() for picture in draw_pictures("nouns", "seen", 2, seed)] for seed in ("1", "1", "2")
    )
    assert first == again
    assert not set(first) & set(other)


@pytest.mark.parametrize(
    ("vocabulary", "combinations", "class_count", "looks"),
    [
        ("nouns", "seen", 26, 229),
        ("colours_and_nouns", "seen", 229, 229),
        ("colours_and_nouns", "unseen", 31, 31),
    ],
)
def test_every_allowed_look_is_of_the_class_that_names_it(
    vocabulary: Vocabulary, combinations: Combinations, class_count: int, looks: int
) -> None:
    by_class = looks_by_class(vocabulary, combinations)
    names = class_names(vocabulary)
    assert (len(by_class), sum(map(len, by_class.values()))) == (class_count, looks)
    for label, allowed in by_class.items():
        for noun, colour in allowed:
            assert names[label] == (noun if vocabulary == "nouns" else f"{colour} {noun}")
            assert held_out(noun, colour) == (combinations == "unseen")


def test_pictures_show_one_object_that_their_label_names_and_classes_come_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes: list[Scene] = []

    def remembered(scene: Scene, size: int) -> RenderedScene:
        scenes.append(scene)
        return render(scene, size)

    monkeypatch.setattr(classes, "render", remembered)
    pictures = list(draw_pictures("colours_and_nouns", "unseen", 3, "0"))
    assert [picture.image.size for picture in pictures] == [(classes.SIZE, classes.SIZE)] * 3
    assert len({picture.label for picture in pictures}) == 3
    for picture, scene in zip(pictures, scenes, strict=True):
        (thing,) = scene.things
        assert (thing.count, len(scene.instances())) == ("one", 1)
        assert class_names("colours_and_nouns")[picture.label] == f"{thing.colour} {thing.noun}"
        assert held_out(thing.noun, thing.colour)
