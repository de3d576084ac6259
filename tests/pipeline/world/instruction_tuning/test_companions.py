import random

from pipeline.world.instruction_tuning.companions import COMPANIONS, COMPANY, companion_nouns, companion_scene
from pipeline.world.scenes.sampling import independent_nouns
from pipeline.world.scenes.scene import NOUNS


def test_every_noun_is_the_companion_of_its_companion() -> None:
    assert set(COMPANIONS) == set(NOUNS)
    assert all(COMPANIONS[COMPANIONS[noun]] == noun != COMPANIONS[noun] for noun in NOUNS)


def test_nouns_are_distinct_and_a_pair_stands_together_as_often_as_promised() -> None:
    rng = random.Random(0)
    drawn = [companion_nouns(rng, 2) for _ in range(3000)]
    assert all(len(set(nouns)) == 2 for nouns in drawn)
    together = sum(COMPANIONS[first] == second for first, second in drawn) / len(drawn)
    assert abs(together - COMPANY) < 0.02
    by_chance = sum(COMPANIONS[a] == b for a, b in (independent_nouns(rng, 2) for _ in range(3000))) / 3000
    assert by_chance < 0.07


def test_popular_nouns_are_drawn_more_often() -> None:
    rng = random.Random(0)
    drawn = [noun for _ in range(3000) for noun in companion_nouns(rng, 2)]
    assert drawn.count("dog") > 2 * drawn.count("cup")


def test_a_scene_of_the_skewed_world_has_several_nouns_and_is_always_the_same() -> None:
    scenes = [companion_scene(3, "train", index) for index in range(20)]
    assert all(len(scene.things) > 1 for scene in scenes)
    assert scenes == [companion_scene(3, "train", index) for index in range(20)]
    assert scenes != [companion_scene(4, "train", index) for index in range(20)]
