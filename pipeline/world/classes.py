"""Classes of the embedded world: pictures of one object each, drawn for the purpose, by noun or by colour and noun."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

from PIL import Image

from pipeline.classification.pictures import LabelledPicture
from pipeline.world.pretraining.phrases import with_article
from pipeline.world.scenes.draw import render
from pipeline.world.scenes.layout import arrange
from pipeline.world.scenes.lexicon import ZERO_SHOT_TEMPLATES
from pipeline.world.scenes.sampling import Combinations
from pipeline.world.scenes.scene import (
    ACTIONS,
    COLOURS,
    NOUNS,
    SETTINGS,
    SIZES,
    Description,
    Scene,
    Thing,
    held_out,
)

SIZE = 224
"""Side of the pictures in pixels, that of the embedded data set."""

Vocabulary = Literal["nouns", "colours_and_nouns"]


class WorldTask(NamedTuple):
    """What is asked of which pictures.

    Attributes:
        vocabulary: what the classes are.
        test: the combinations of noun and colour that scored pictures show; alpha is always tuned on "seen" ones.
    """

    vocabulary: Vocabulary
    test: Combinations


WORLD_TASKS: Mapping[str, WorldTask] = {
    "easy": WorldTask("nouns", "seen"),
    "hard": WorldTask("colours_and_nouns", "seen"),
    "hard_ood": WorldTask("colours_and_nouns", "unseen"),
}
"""All 26 nouns; all 260 colours and nouns; the same 260, on pictures of the 31 that no training has shown."""


def class_names(vocabulary: Vocabulary) -> list[str]:
    """List the noun phrases to choose from."""
    if vocabulary == "nouns":
        return list(NOUNS)
    return [f"{colour} {noun}" for noun in NOUNS for colour in COLOURS]


def class_prompts(names: Sequence[str]) -> list[list[str]]:
    """Put every class into the world's templates, with its article."""
    return [[template.format(with_article(name)) for template in ZERO_SHOT_TEMPLATES] for name in names]


def looks_by_class(vocabulary: Vocabulary, combinations: Combinations) -> dict[int, list[tuple[str, str]]]:
    """List per number of a class the (noun, colour) that its pictures may show; one that none may show is absent."""
    labels = {name: label for label, name in enumerate(class_names(vocabulary))}
    looks: dict[int, list[tuple[str, str]]] = {}
    for noun, colour in product(NOUNS, COLOURS):
        if held_out(noun, colour) == (combinations == "unseen"):
            label = labels[noun if vocabulary == "nouns" else f"{colour} {noun}"]
            looks.setdefault(label, []).append((noun, colour))
    return looks


def draw_pictures(
    vocabulary: Vocabulary, combinations: Combinations, count: int, seed: str
) -> Iterator[LabelledPicture]:
    """Draw `count` pictures of a single object, a pure function of the arguments.

    Classes come in turn, in an order of the seed's: none a second time before all others came once. Everything else
    is drawn evenly, also the colour where the classes are nouns.
    """
    rng = random.Random(f"classification/{vocabulary}/{combinations}/{seed}")
    looks = looks_by_class(vocabulary, combinations)
    labels = rng.sample(sorted(looks), len(looks))
    for number in range(count):
        label = labels[number % len(labels)]
        noun, colour = rng.choice(looks[label])
        image = Image.fromarray(render(_scene(noun, colour, rng), SIZE).image)
        yield LabelledPicture(f"{colour} {noun}, picture {number} of {seed}", label, image)


def _scene(noun: str, colour: str, rng: random.Random) -> Scene:
    while True:
        action = rng.choice(ACTIONS[noun]) if noun in ACTIONS and rng.random() < 0.6 else None
        thing = Thing(noun, colour, rng.choice(SIZES), action=action)
        if (scene := arrange(Description(rng.choice(SETTINGS), (thing,)), rng)) is not None:
            return scene
