"""The embedded world's art: every noun in every pose it can strike, and the settings behind them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.errors import DatasetError
from pipeline.world.scenes import (
    nouns_animals,
    nouns_growing,
    nouns_made,
    nouns_sky,
    nouns_vehicles,
    nouns_wings,
    settings,
)
from pipeline.world.scenes.palette import Palette

Pose = Callable[[Palette], str]


@dataclass(frozen=True)
class NounArt:
    """One noun's drawings, all filling the same box of `100 * aspect` x 100 units."""

    aspect: float
    """Width over height of the box."""
    still: Pose
    """The noun doing nothing in particular."""
    poses: Mapping[str, Pose]
    """The noun doing something, by action."""

    def draw(self, palette: Palette, action: str | None = None) -> str:
        """Draw SVG elements that fill the box; raises DatasetError for an action this noun has no pose for."""
        if action is None:
            return self.still(palette)
        if action not in self.poses:
            known = ", ".join(sorted(self.poses)) or "none"
            raise DatasetError(f"action {action!r} has no drawing for this noun; it has: {known}")
        return self.poses[action](palette)


def _art(width: float, still: Pose, **poses: Pose) -> NounArt:
    return NounArt(width / 100, still, MappingProxyType(poses))


NOUN_ART: Mapping[str, NounArt] = MappingProxyType(
    {
        "house": _art(100, nouns_made.house),
        "tree": _art(86, nouns_growing.tree),
        "car": _art(160, nouns_vehicles.car),
        "boat": _art(104, nouns_vehicles.boat, sailing=nouns_vehicles.boat_sailing),
        "fish": _art(140, nouns_wings.fish, jumping=nouns_wings.fish_jumping),
        "flower": _art(72, nouns_growing.flower),
        "cat": _art(
            110, nouns_animals.cat, sitting=nouns_animals.cat_sitting, running=nouns_animals.cat_running
        ),
        "bird": _art(120, nouns_wings.bird, flying=nouns_wings.bird_flying, sitting=nouns_wings.bird_sitting),
        "umbrella": _art(100, nouns_made.umbrella),
        "cup": _art(114, nouns_made.cup),
        "star": _art(104, nouns_sky.star),
        "heart": _art(108, nouns_sky.heart),
        "moon": _art(78, nouns_sky.moon),
        "sun": _art(100, nouns_sky.sun),
        "dog": _art(
            110, nouns_animals.dog, sitting=nouns_animals.dog_sitting, running=nouns_animals.dog_running
        ),
        "rabbit": _art(
            90,
            nouns_animals.rabbit,
            sitting=nouns_animals.rabbit_sitting,
            running=nouns_animals.rabbit_running,
        ),
        "butterfly": _art(120, nouns_wings.butterfly, flying=nouns_wings.butterfly_flying),
        "mushroom": _art(100, nouns_growing.mushroom),
        "apple": _art(96, nouns_growing.apple),
        "balloon": _art(66, nouns_sky.balloon, flying=nouns_sky.balloon_flying),
        "kite": _art(76, nouns_sky.kite, flying=nouns_sky.kite_flying),
        "bicycle": _art(160, nouns_vehicles.bicycle),
        "train": _art(160, nouns_vehicles.train),
        "hat": _art(160, nouns_made.hat),
        "ball": _art(100, nouns_made.ball),
        "key": _art(194, nouns_made.key),
    }
)
"""The art of each of the 26 nouns."""

ACTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {noun: tuple(art.poses) for noun, art in NOUN_ART.items() if art.poses}
)
"""The actions each noun can be drawn doing; a noun without any is absent."""

SETTING_ART: Mapping[str, Callable[[random.Random], str]] = MappingProxyType(
    {
        "meadow": settings.meadow,
        "beach": settings.beach,
        "sea": settings.sea,
        "night": settings.night,
        "street": settings.street,
        "snow": settings.snow,
    }
)
"""The background of each setting on a 400 x 400 canvas, varied only by the given random numbers."""

HORIZON: Mapping[str, float] = MappingProxyType(
    {"meadow": 0.63, "beach": 0.61, "sea": 0.50, "night": 0.70, "street": 0.66, "snow": 0.64}
)
"""Fraction of the picture's height at which the ground, or the sea, begins."""
