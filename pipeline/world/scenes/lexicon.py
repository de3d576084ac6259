"""The closed English of the captions: which words express which concept, and the frames they are set in.

Wordings are unambiguous: a word listed under a concept appears in a caption only where that concept is meant.
"""

import re
from collections.abc import Mapping

from pipeline.world.scenes.scene import ACTIONS, COLOURS, NOUNS, concept

IRREGULAR_PLURALS: Mapping[str, str] = {"fish": "fish", "butterfly": "butterflies"}

SIZE_WORDS: Mapping[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium sized"),
    "large": ("large", "big", "huge"),
}

COUNT_WORDS: Mapping[str, tuple[str, ...]] = {
    "one": ("one", "a single"),
    "two": ("two", "a pair of", "a couple of"),
    "three": ("three",),
    "many": ("many", "lots of", "a lot of"),
}

RELATION_WORDS: Mapping[str, tuple[str, ...]] = {
    "left of": ("to the left of", "on the left of", "left of"),
    "right of": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}

PLACES: Mapping[str, tuple[str, ...]] = {
    "meadow": ("in the meadow", "in a meadow", "on the grass", "in a grassy field"),
    "beach": ("on the beach", "at the beach", "on a sandy beach", "on the sand"),
    "sea": ("at sea", "on the sea", "out at sea", "on the ocean"),
    "night": ("at night", "in the dark", "on a dark night", "at night time"),
    "street": ("on the street", "in the street", "on a city street", "in the city"),
    "snow": ("in the snow", "on the snow", "on a snowy day", "in winter"),
}
"""Where the things are, as an adverbial."""

SCENERIES: Mapping[str, tuple[str, ...]] = {
    "meadow": ("a meadow", "a grassy field"),
    "beach": ("a beach", "a sandy beach"),
    "sea": ("the sea", "the ocean"),
    "night": ("a dark night", "a night scene"),
    "street": ("a street", "a city street"),
    "snow": ("a snowy scene", "a winter scene"),
}
"""The setting itself, as a noun phrase."""

NOUN_PHRASES: Mapping[str, str] = {
    "plain": "{count} {size} {colour} {noun} {action}",
    "fronted": "{count} {size} {colour} {action} {noun}",
    "coloured": "{count} {size} {action} {noun} that {is} {colour}",
    "acting": "{count} {size} {colour} {noun} that {is} {action}",
}
"""A thing in words; slots of facts left unsaid stay empty."""

FRAMES = (
    "{things}",
    "there {is} {things}",
    "a picture of {things}",
    "a photo of {things}",
    "a drawing of {things}",
    "we see {things}",
)

FRAMES_WITH_PLACE = (
    "{things} {place}",
    "there {is} {things} {place}",
    "{place} there {is} {things}",
    "{place} we see {things}",
    "a picture of {things} {place}",
    "a photo of {things} {place}",
)

FRAMES_WITH_SCENERY = ("{scenery} with {things}", "a picture of {scenery} with {things}")

RELATED = "{first} {relation} {second}"

RELATION_CLAUSES = ("{first} {is} {relation} {second}",)

RELATION_CLAUSES_WITH_PLACE = (
    "{place} {first} {is} {relation} {second}",
    "{first} {is} {relation} {second} {place}",
)

ZERO_SHOT_TEMPLATES = ("a photo of {}", "a picture of {}", "a drawing of {}")
"""Prompts for naming a noun phrase or scenery; the articles are the caller's to choose."""


def plural(noun: str) -> str:
    """Give the noun's plural."""
    return IRREGULAR_PLURALS.get(noun, f"{noun}s")


def words(text: str) -> list[str]:
    """SplitName a text into its words, without punctuation and lower-case."""
    return re.findall(r"[a-z]+", text.lower())


def _synonyms() -> dict[str, tuple[str, ...]]:
    table = {concept("noun", noun): tuple(dict.fromkeys((noun, plural(noun)))) for noun in NOUNS}
    table |= {concept("colour", colour): (colour,) for colour in COLOURS}
    table |= {concept("size", size): wordings for size, wordings in SIZE_WORDS.items()}
    table |= {concept("action", action): (action,) for actions in ACTIONS.values() for action in actions}
    table |= {
        concept("setting", "meadow"): ("meadow", "grass", "grassy", "grassy field", "field"),
        concept("setting", "beach"): ("beach", "sand", "sandy", "sandy beach"),
        concept("setting", "sea"): ("sea", "ocean"),
        concept("setting", "night"): ("night", "dark", "dark night"),
        concept("setting", "street"): ("street", "city", "city street"),
        concept("setting", "snow"): ("snow", "snowy", "winter"),
        concept("count", "one"): ("one", "single"),
        concept("count", "two"): ("two", "pair", "couple"),
        concept("count", "three"): ("three",),
        concept("count", "many"): ("many", "lots", "lot"),
        concept("relation", "left of"): ("left", "left of"),
        concept("relation", "right of"): ("right", "right of"),
        concept("relation", "above"): ("above", "over"),
        concept("relation", "below"): ("below", "under", "beneath"),
    }
    return table


def _vocabulary() -> tuple[str, ...]:
    sources = [wording for wordings in SYNONYMS.values() for wording in wordings]
    for table in (SIZE_WORDS, COUNT_WORDS, RELATION_WORDS, PLACES, SCENERIES):
        sources.extend(wording for wordings in table.values() for wording in wordings)
    sources.extend((*NOUN_PHRASES.values(), *FRAMES, *FRAMES_WITH_PLACE, *FRAMES_WITH_SCENERY))
    sources.extend((*ZERO_SHOT_TEMPLATES, "a an is are and"))
    slots = re.compile(r"\{.*?\}")
    return tuple(sorted({word for source in sources for word in words(slots.sub(" ", source))}))


SYNONYMS: Mapping[str, tuple[str, ...]] = _synonyms()
"""For each concept, the words and phrases of the captions that express it."""

VOCABULARY: tuple[str, ...] = _vocabulary()
"""Every word that a caption, phrase or template can contain, sorted."""
