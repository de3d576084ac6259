"""Which scenes there are: facts drawn from the world, combination by combination."""

import random
from collections.abc import Callable
from typing import Literal

from pipeline.world.scenes.layout import SCALES, arrange
from pipeline.world.scenes.scene import (
    ACTIONS,
    COLOURS,
    COUNTS,
    HELD_OUT,
    NOUNS,
    RELATIONS,
    SETTINGS,
    SIZES,
    Description,
    Scene,
    Thing,
    held_out,
)

Combinations = Literal["seen", "unseen"]
DrawNouns = Callable[[random.Random, int], list[str]]
"""Draws so many distinct nouns."""

SINGLE_OBJECT = 0.35
"""Share of scenes that show one object and nothing else."""
TWO_OBJECTS = 0.25
"""Share of scenes that show two objects, one relation apart."""

_GROUPS = {1: 3, 2: 3, 3: 3, 4: 2}  # The other scenes: how many groups of objects, by weight.
_COUNTS = {"one": 4, "two": 3, "three": 2, "many": 3}
_CROWDED = 0.45  # The share of the picture that the boxes of several groups may fill.
_FULL = 0.62  # Likewise of a single group.


def independent_nouns(rng: random.Random, count: int) -> list[str]:
    """Draw nouns, all equally often: which ones a scene shows says nothing about the others."""
    return rng.sample(NOUNS, count)


def sample_scene(
    rng: random.Random, combinations: Combinations, draw_nouns: DrawNouns = independent_nouns
) -> Scene:
    """Draw a scene of one object, of two related ones, or of one to four groups.

    "seen" scenes contain no (noun, colour) combination of `HELD_OUT`, "unseen" scenes contain exactly one.
    """
    while True:
        description = sample_description(rng, combinations, draw_nouns)
        if (scene := arrange(description, rng)) is not None:
            return scene


def sample_description(
    rng: random.Random, combinations: Combinations, draw_nouns: DrawNouns = independent_nouns
) -> Description:
    """Draw the facts of a scene, before it is known whether everything finds a place."""
    setting = rng.choice(SETTINGS)
    shape = rng.random()
    if shape < SINGLE_OBJECT:
        return Description(setting, tuple(_sample_things(rng, combinations, ["one"], draw_nouns)))
    if shape < SINGLE_OBJECT + TWO_OBJECTS:
        things = tuple(_sample_things(rng, combinations, ["one", "one"], draw_nouns))
        return Description(setting, things, rng.choice(RELATIONS))
    while True:
        counts = _sample_counts(rng)
        things = tuple(_sample_things(rng, combinations, counts, draw_nouns))
        if _area(things) < (_FULL if len(things) == 1 else _CROWDED):
            return Description(setting, things)


def _sample_counts(rng: random.Random) -> list[str]:
    groups = rng.choices(list(_GROUPS), list(_GROUPS.values()))[0]
    while True:
        counts = rng.choices(list(_COUNTS), list(_COUNTS.values()), k=groups)
        if counts not in (["one"], ["one", "one"]):
            return counts


def _sample_things(
    rng: random.Random, combinations: Combinations, counts: list[str], draw_nouns: DrawNouns
) -> list[Thing]:
    nouns = draw_nouns(rng, len(counts))
    colours = [rng.choice([c for c in COLOURS if not held_out(noun, c)]) for noun in nouns]
    if combinations == "unseen":
        chosen = rng.randrange(len(nouns))
        colours[chosen] = rng.choice(HELD_OUT[nouns[chosen]])
    return [
        Thing(noun, colour, _sample_size(rng, count), count, _sample_action(rng, noun))
        for noun, colour, count in zip(nouns, colours, counts, strict=True)
    ]


def _sample_size(rng: random.Random, count: str) -> str:
    return rng.choice(SIZES if count in ("one", "two") else ("small", "medium"))


def _sample_action(rng: random.Random, noun: str) -> str | None:
    return rng.choice(ACTIONS[noun]) if noun in ACTIONS and rng.random() < 0.6 else None


def _area(things: tuple[Thing, ...]) -> float:
    return sum(COUNTS[thing.count][-1] * sum(SCALES[thing.size]) ** 2 / 4 for thing in things)
