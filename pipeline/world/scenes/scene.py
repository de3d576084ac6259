"""What a picture-book scene consists of: the closed vocabulary of facts, and the dataclasses that state them.

A `Description` holds the facts alone, a `Scene` adds where everything stands. Every fact has a name of the form
`kind:value` ("noun:boat", "setting:sea"); these *concepts* are the ground truth that later stages are scored on.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pipeline.world.scenes import art

Kind = Literal["noun", "colour", "size", "setting", "count", "relation", "action"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NOUNS = (
    *("house", "tree", "car", "boat", "fish", "flower", "cat", "bird", "umbrella", "cup", "star", "heart"),
    *(
        "moon",
        "sun",
        "dog",
        "rabbit",
        "butterfly",
        "mushroom",
        "apple",
        "balloon",
        "kite",
        "bicycle",
        "train",
    ),
    *("hat", "ball", "key"),
)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
SIZES = ("small", "medium", "large")
SETTINGS = ("meadow", "beach", "sea", "night", "street", "snow")
RELATIONS = ("left of", "right of", "above", "below")
CONVERSE: Mapping[str, str] = dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))

COUNTS: Mapping[str, tuple[int, ...]] = {"one": (1,), "two": (2,), "three": (3,), "many": (5, 6)}
"""The count words, each with the numbers of objects it may stand for. Four is nobody's: three and many never meet."""

ACTIONS: Mapping[str, tuple[str, ...]] = art.ACTIONS
"""What a noun can be seen doing; each action is a pose of its own in the picture."""

HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "house": ("purple",),
    "tree": ("blue", "black"),
    "car": ("pink",),
    "boat": ("purple",),
    "fish": ("brown",),
    "flower": ("black",),
    "cat": ("green",),
    "bird": ("orange",),
    "umbrella": ("brown",),
    "cup": ("yellow",),
    "star": ("pink", "brown"),
    "heart": ("green", "white"),
    "moon": ("red",),
    "sun": ("blue",),
    "dog": ("pink", "yellow"),
    "rabbit": ("red",),
    "butterfly": ("white",),
    "mushroom": ("orange",),
    "apple": ("purple",),
    "balloon": ("black",),
    "kite": ("green",),
    "bicycle": ("orange", "white"),
    "train": ("yellow",),
    "hat": ("blue",),
    "ball": ("brown",),
    "key": ("red",),
}
"""The 31 of 260 (noun, colour) combinations that no "seen" scene contains."""


def concept(kind: Kind, value: str) -> str:
    """Name one fact, such as `noun:boat`."""
    return f"{kind}:{value}"


def held_out(noun: str, colour: str) -> bool:
    """Say whether the combination is kept for the out-of-distribution scenes."""
    return colour in HELD_OUT[noun]


@dataclass(frozen=True)
class Thing:
    """One to six objects that look the same: the unit that a caption speaks of.

    `count` is a key of `COUNTS`, `action` one of `ACTIONS[noun]` or None.
    """

    noun: str
    colour: str
    size: str
    count: str = "one"
    action: str | None = None

    def look(self) -> tuple[str, ...]:
        """Name the concepts that each single object shows: noun, colour, size and, if any, action."""
        look = (concept("noun", self.noun), concept("colour", self.colour), concept("size", self.size))
        return look if self.action is None else (*look, concept("action", self.action))

    def concepts(self) -> tuple[str, ...]:
        """Every concept that holds for the thing: its look and its count."""
        return (*self.look(), concept("count", self.count))


@dataclass(frozen=True)
class Description:
    """The facts of a scene: one to four things with distinct nouns in a setting.

    `relation` says where the first thing is, seen from the second ("left of": the first is to the left). It is
    stated exactly when the scene consists of two single objects, and None otherwise.
    """

    setting: str
    things: tuple[Thing, ...]
    relation: str | None = None

    def concepts(self) -> tuple[str, ...]:
        """Every true fact, each once. A relation counts in both directions, for both are true of the scene."""
        facts = [concept("setting", self.setting)]
        for thing in self.things:
            facts.extend(thing.concepts())
        if self.relation is not None:
            facts.append(concept("relation", self.relation))
            facts.append(concept("relation", CONVERSE[self.relation]))
        return tuple(dict.fromkeys(facts))


@dataclass(frozen=True)
class Place:
    """Where one object stands: its box as fractions of the picture, `x` and `y` its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    flip: bool

    @property
    def bottom(self) -> float:
        """The lower edge, where an object touches the ground."""
        return self.y + self.height

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width

    def intersection(self, other: "Place") -> float:
        """Compute the area that both boxes cover."""
        width = min(self.right, other.right) - max(self.x, other.x)
        height = min(self.bottom, other.bottom) - max(self.y, other.y)
        return max(width, 0.0) * max(height, 0.0)


@dataclass(frozen=True)
class Scene(Description):
    """A description with a place for every object: `places[i]` belongs to `things[i]`.

    `backdrop` is the number of the setting's scenery.
    """

    places: tuple[tuple[Place, ...], ...] = ()
    backdrop: int = 0

    def instances(self) -> list[tuple[Thing, Place]]:
        """List every single object in painter's order: what stands further up is further away and drawn first."""
        objects = [
            (thing, place) for thing, places in zip(self.things, self.places, strict=True) for place in places
        ]
        return sorted(objects, key=lambda instance: instance[1].bottom)


def alternatives(description: Description, kind: Kind, index: int = 0) -> tuple[str, ...]:
    """List the values that would make the fact of that kind false; none if there is no such fact or other value.

    For the facts of a thing, `index` says which. A noun's replacements are absent from the scene and capable of the
    thing's action. The only alternative to a relation is its converse: the others are not clearly false.
    """
    thing = description.things[index]
    match kind:
        case "noun":
            present = {other.noun for other in description.things}
            return tuple(noun for noun in NOUNS if noun not in present and _capable(noun, thing.action))
        case "relation":
            return () if description.relation is None else (CONVERSE[description.relation],)
        case "action":
            return tuple(
                action for action in ACTIONS.get(thing.noun, ()) if thing.action not in (None, action)
            )
        case "setting":
            return tuple(setting for setting in SETTINGS if setting != description.setting)
        case "colour" | "size" | "count":
            values = {"colour": COLOURS, "size": SIZES, "count": tuple(COUNTS)}[kind]
            return tuple(value for value in values if value != getattr(thing, kind))


def with_fact(description: Description, kind: Kind, value: str, index: int = 0) -> Description:
    """Change that one fact, giving a description: a scene's places need not fit any more."""
    setting, things, relation = description.setting, description.things, description.relation
    match kind:
        case "setting":
            setting = value
        case "relation":
            relation = value
        case "noun" | "colour" | "size" | "count" | "action":
            thing = replace(things[index], **{kind: value})
            things = (*things[:index], thing, *things[index + 1 :])
    return Description(setting, things, relation)


def changed(description: Description, kind: Kind, rng: random.Random) -> Description | None:
    """Replace one fact of that kind by a false one; None if the description has none.

    `sampling.arrange` finds places for it, for a picture of the counterfactual.
    """
    targets = [index for index in range(len(description.things)) if alternatives(description, kind, index)]
    if not targets:
        return None
    index = rng.choice(targets)
    return with_fact(description, kind, rng.choice(alternatives(description, kind, index)), index)


def _capable(noun: str, action: str | None) -> bool:
    return action is None or action in ACTIONS.get(noun, ())
