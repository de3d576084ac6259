"""A place for every object of a description: in the picture, hardly overlapping, and where the relation says."""

import math
import random
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

from pipeline.world.scenes.art import HORIZON, NOUN_ART
from pipeline.world.scenes.scene import COUNTS, Description, Place, Scene, Thing

SCALES: Mapping[str, tuple[float, float]] = {
    "small": (0.20, 0.24),
    "medium": (0.31, 0.35),
    "large": (0.46, 0.52),
}
"""The geometric mean of an object's width and height as a fraction of the picture's side, by size: the range.

Equal sizes cover equal areas whatever the shape, and the ranges are far apart.
"""

MARGIN = 0.02
"""Distance between the objects and the picture's edges."""

OVERLAP = 0.04
"""The largest share of an object's box that another box may cover, where there is no room without."""

BACKDROPS = 48
"""How many sceneries each setting has."""

_AIRBORNE = frozenset({"sun", "moon", "star", "heart", "kite", "balloon", "butterfly"})
_STARTS = 40
_TRIES = 16


class _Item(NamedTuple):
    """One object that seeks its place; `group` is the index of its thing."""

    group: int
    width: float
    height: float
    airborne: bool


def arrange(description: Description, rng: random.Random) -> Scene | None:
    """Find a place for every object of the description; None if no attempt finds them.

    A relation holds unambiguously (see `related`). What stands on the ground is put there and what flies is put
    higher up; this is relaxed by and by when no such arrangement turns up.
    """
    items = [item for group, thing in enumerate(description.things) for item in _items(group, thing, rng)]
    items.sort(key=lambda item: -item.width * item.height)
    for start in range(_STARTS):
        freedom = max(0.0, 2 * start / _STARTS - 1)
        if found := _place_all(items, description, freedom, rng):
            grouped = groupby(sorted(found, key=lambda place: place[0]), key=lambda place: place[0])
            places = tuple(tuple(place for _, place in group) for _, group in grouped)
            backdrop = rng.randrange(BACKDROPS)
            return Scene(description.setting, description.things, description.relation, places, backdrop)
    return None


def airborne(thing: Thing) -> bool:
    """Say whether the thing belongs in the air rather than on the ground."""
    return thing.noun in _AIRBORNE or thing.action in ("flying", "jumping")


def related(first: Place, second: Place, relation: str) -> bool:
    """Say whether `first` is clearly `relation` of `second`.

    The boxes lie apart along the relation's direction and, seen along it, one is at least half covered by the other:
    what is "left of" is not also "above".
    """
    if relation in ("right of", "below"):
        first, second = second, first
    wide = min(first.right, second.right) - max(first.x, second.x)
    high = min(first.bottom, second.bottom) - max(first.y, second.y)
    if relation in ("left of", "right of"):
        return first.right <= second.x and high >= min(first.height, second.height) / 2
    return first.bottom <= second.y and wide >= min(first.width, second.width) / 2


def _items(group: int, thing: Thing, rng: random.Random) -> list[_Item]:
    stretch = math.sqrt(NOUN_ART[thing.noun].aspect)
    scales = [rng.uniform(*SCALES[thing.size]) for _ in range(rng.choice(COUNTS[thing.count]))]
    return [_Item(group, scale * stretch, scale / stretch, airborne(thing)) for scale in scales]


def _place_all(
    items: list[_Item], description: Description, freedom: float, rng: random.Random
) -> list[tuple[int, Place]] | None:
    """Find a place for each item as (its group, place); None as soon as one finds none."""
    places: list[tuple[int, Place]] = []
    for item in items:
        for _ in range(_TRIES):
            place = _propose(item, HORIZON[description.setting], freedom, rng)
            if _fits(place, item.group, places, description.relation, OVERLAP * freedom):
                places.append((item.group, place))
                break
        else:
            return None
    return places


def _propose(item: _Item, horizon: float, freedom: float, rng: random.Random) -> Place:
    """Draw a place within the margins: `freedom` 0 is where such things belong, 1 is anywhere."""
    highest, lowest = MARGIN, 1 - MARGIN - item.height
    if item.airborne:
        belongs = horizon + 0.1 - item.height
        lowest = max(highest, min(lowest, belongs + freedom * (lowest - belongs)))
    else:
        belongs = horizon + 0.04 - item.height
        highest = min(lowest, max(highest, belongs - freedom * (belongs - highest)))
    return Place(
        rng.uniform(MARGIN, 1 - MARGIN - item.width),
        rng.uniform(highest, lowest),
        item.width,
        item.height,
        rng.random() < 0.5,
    )


def _fits(
    place: Place,
    group: int,
    others: list[tuple[int, Place]],
    relation: str | None,
    overlap: float,
) -> bool:
    for other_group, other in others:
        shared = place.intersection(other)
        if shared > overlap * min(place.width * place.height, other.width * other.height):
            return False
        if relation is not None:
            first, second = (place, other) if group < other_group else (other, place)
            if not related(first, second, relation):
                return False
    return True
