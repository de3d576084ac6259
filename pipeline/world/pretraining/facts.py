"""Scenes and phrases as small integer tables, so that "is this phrase true of that?" is one comparison.

A thing has looks (noun, colour, size, count, action, place), a phrase asks for some of them and leaves the rest
open. The truth of every phrase of every image, and of every patch, follows exactly from the world's facts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from pipeline.world.pretraining.architecture import GRID
from pipeline.world.scenes.scene import (
    ACTIONS,
    COLOURS,
    CONVERSE,
    COUNTS,
    NOUNS,
    RELATIONS,
    SETTINGS,
    SIZES,
    Place,
    Scene,
)

LOOKS = ("noun", "colour", "size", "count", "action", "relation", "across", "along")
"""What is known of a thing. "relation": where it is seen from the other of two objects; "across" and "along": which
half of the picture it is in. These two stand last."""
NO_ACTION = "still"
VALUES: dict[str, tuple[str, ...]] = {
    "noun": NOUNS,
    "colour": COLOURS,
    "size": SIZES,
    "count": tuple(COUNTS),
    "action": (NO_ACTION, *sorted({action for actions in ACTIONS.values() for action in actions})),
    "relation": RELATIONS,
    "across": ("left", "right"),
    "along": ("above", "below"),
    "setting": SETTINGS,
}
MOST_THINGS = 4
ANY = -1
ABSENT = -2
"""In the table of things: this scene has fewer things. Equal to no value, and not `ANY`."""

UNKNOWN = -3
"""In the table of things: the scene does not say. Equal to no value, and not `ANY`."""
MIDDLE = 0.1
"""Things whose centre is within this distance of the middle of the picture are in neither half."""

BACKGROUND = 254
"""Patch label: no object touches the patch. Labels below `MOST_THINGS` are indices of things."""
UNDECIDED = 255
"""Patch label: the edge of an object, or several objects; no statement about the patch is scored."""


class SceneFacts(NamedTuple):
    """The facts of a batch of scenes as indices into `VALUES`."""

    things: Int64[Tensor, "scene thing look"]
    settings: Int64[Tensor, "scene"]


def scene_facts(scenes: Sequence[Scene]) -> SceneFacts:
    """Tabulate the scenes' facts; absent things are `ABSENT` in every look."""
    things = torch.full((len(scenes), MOST_THINGS, len(LOOKS)), ABSENT)
    for row, scene in enumerate(scenes):
        for column, thing in enumerate(scene.things):
            plain = (thing.noun, thing.colour, thing.size, thing.count, thing.action or NO_ACTION)
            looks = (*plain, _relation(scene, column), *_halves(scene.places[column]))
            things[row, column] = torch.tensor(
                [
                    UNKNOWN if look is None else VALUES[kind].index(look)
                    for kind, look in zip(LOOKS, looks, strict=True)
                ]
            )
    settings = torch.tensor([SETTINGS.index(scene.setting) for scene in scenes])
    return SceneFacts(things, settings)


def _relation(scene: Scene, index: int) -> str | None:
    if scene.relation is None:
        return None
    return scene.relation if index == 0 else CONVERSE[scene.relation]


def _halves(places: Sequence[Place]) -> tuple[str | None, str | None]:
    across = sum(place.x + place.width / 2 for place in places) / len(places)
    along = sum(place.y + place.height / 2 for place in places) / len(places)
    return _half(across, VALUES["across"]), _half(along, VALUES["along"])


def _half(centre: float, names: Sequence[str]) -> str | None:
    if abs(centre - 0.5) <= MIDDLE:
        return None
    return names[0] if centre < 0.5 else names[1]


class PhraseFacts(NamedTuple):
    """What each phrase asks for, as indices into `VALUES`; `ANY` where it asks for nothing.

    A phrase with `counted` False says "one" only by its article ("a red boat"): false of two red boats as a
    description of an image, true of either boat.
    """

    looks: Int64[Tensor, "phrase look"]
    settings: Int64[Tensor, "phrase"]
    counted: Bool[Tensor, "phrase"]

    def asks(self, kind: str) -> Bool[Tensor, "phrase"]:
        """Say whether each phrase states a fact of that kind."""
        if kind == "setting":
            return self.settings != ANY
        return self.looks[:, LOOKS.index(kind)] != ANY

    def asks_only_place(self) -> Bool[Tensor, "phrase"]:
        """Say whether each phrase states a half of the picture and nothing else."""
        place = (self.looks[:, -2:] != ANY).any(dim=-1)
        return place & (self.looks[:, :-2] == ANY).all(dim=-1) & (self.settings == ANY)

    def of_any_count(self) -> "PhraseFacts":
        """Leave the counts of the phrases open."""
        looks = self.looks.clone()
        looks[:, LOOKS.index("count")] = ANY
        return self._replace(looks=looks)


def phrase_facts(concepts: Sequence[Sequence[str]], counted: Sequence[bool]) -> PhraseFacts:
    """Tabulate what phrases state, given as concepts ("noun:boat") of at most one fact per kind."""
    looks = torch.full((len(concepts), len(LOOKS)), ANY)
    settings = torch.full((len(concepts),), ANY)
    for row, stated in enumerate(concepts):
        for name in stated:
            kind, value = name.split(":")
            if kind == "setting":
                settings[row] = VALUES[kind].index(value)
            else:
                looks[row, LOOKS.index(kind)] = VALUES[kind].index(value)
    return PhraseFacts(looks, settings, torch.tensor(counted))


class ScoredTruth(NamedTuple):
    """Which statements are true, and which of them the world decides at all."""

    true: Bool[Tensor, "row phrase"]
    scored: Bool[Tensor, "row phrase"]


def truth_of_images(scenes: SceneFacts, phrases: PhraseFacts) -> ScoredTruth:
    """Say whether some thing of each scene, and its setting, are as each phrase says.

    Undecided: "a red boat" of a scene with several red boats, and relations the scene does not state.
    """
    strict = _true_of_things(scenes, phrases).any(dim=1)
    loose = _true_of_things(scenes, phrases.of_any_count()).any(dim=1)
    decided = strict | ~_maybe_of_things(scenes, phrases).any(dim=1)
    setting = (scenes.settings[:, None] == phrases.settings) | (phrases.settings == ANY)
    about_things = (phrases.looks != ANY).any(dim=1)
    return ScoredTruth(setting & (strict | ~about_things), ((strict == loose) | phrases.counted) & decided)


def truth_of_patches(
    scenes: SceneFacts,
    images: Int64[Tensor, "patch"],
    patches: Int64[Tensor, "patch"],
    labels: Int64[Tensor, "patch"],
    phrases: PhraseFacts,
) -> ScoredTruth:
    """Say whether what each patch shows is as each phrase says.

    `images` and `patches` say which patch of which scene, `labels` the thing that it shows, or `BACKGROUND`. "On the
    left" is true of a patch in the left half of the picture, wherever the rest of its thing is.

    Undecided: counts a patch cannot show, relations the scene does not state, the setting of an object's patch, and
    of a background patch whatever names neither a noun nor the setting nor just a place.
    """
    background = (labels == BACKGROUND)[:, None]
    looks = scenes.things[images, labels.masked_fill(background[:, 0], 0)].masked_fill(background, ABSENT)
    looks[:, -2:] = halves_of_patches(patches)
    anyhow = phrases.of_any_count()
    thing, maybe = _true_of_looks(looks, anyhow), _maybe_of_looks(looks, anyhow)
    setting = scenes.settings[images][:, None] == phrases.settings
    placed = phrases.asks("setting")
    true = torch.where(placed, setting & background, thing)
    decided = thing | ~maybe
    scored_on_objects = ~placed & (~phrases.counted | ~thing) & decided
    scored_on_background = placed | phrases.asks("noun") | (phrases.asks_only_place() & decided)
    return ScoredTruth(true, torch.where(background, scored_on_background, scored_on_objects))


def halves_of_patches(patches: Int64[Tensor, "patch"]) -> Int64[Tensor, "patch 2"]:
    """Give the looks "across" and "along" of patches of the grid, `UNKNOWN` near the middle."""
    centres = (torch.stack([patches % GRID, patches // GRID], dim=-1) + 0.5) / GRID
    return (centres > 0.5).long().masked_fill((centres - 0.5).abs() <= MIDDLE, UNKNOWN)


def _true_of_things(scenes: SceneFacts, phrases: PhraseFacts) -> Bool[Tensor, "scene thing phrase"]:
    return _true_of_looks(scenes.things, phrases) & (scenes.things[:, :, :1] != ABSENT)


def _maybe_of_things(scenes: SceneFacts, phrases: PhraseFacts) -> Bool[Tensor, "scene thing phrase"]:
    return _maybe_of_looks(scenes.things, phrases) & (scenes.things[:, :, :1] != ABSENT)


def _true_of_looks(looks: Int64[Tensor, "*row look"], phrases: PhraseFacts) -> Bool[Tensor, "*row phrase"]:
    asked = phrases.looks
    return ((looks[..., None, :] == asked) | (asked == ANY)).all(dim=-1)


def _maybe_of_looks(looks: Int64[Tensor, "*row look"], phrases: PhraseFacts) -> Bool[Tensor, "*row phrase"]:
    """Say what is not known to be false: what the scene leaves open matches, as does a relation on the other axis."""
    shown, asked = looks[..., None, :], phrases.looks
    match = (shown == asked) | (asked == ANY) | (shown == UNKNOWN)
    relation = LOOKS.index("relation")
    match[..., relation] |= shown[..., relation] // 2 != asked[..., relation] // 2
    return match.all(dim=-1)
