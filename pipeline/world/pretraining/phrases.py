"""The texts of one training step: captions, captions with one fact changed, and a bank of short phrases."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.world.scenes import lexicon
from pipeline.world.scenes.caption import captions, false_captions, phrase, setting_phrase
from pipeline.world.scenes.scene import (
    ACTIONS,
    COLOURS,
    CONVERSE,
    COUNTS,
    HELD_OUT,
    NOUNS,
    SETTINGS,
    SIZES,
    Description,
    Kind,
    Scene,
    Thing,
    concept,
    held_out,
)

SOMETHING = "something"
"""Stands for any object in a phrase about one look alone ("something red"); the captions never use it."""


FOCUS_POOL = 10
FOCUS_WEIGHTS: Mapping[Kind, float] = {
    "relation": 8,
    "action": 4,
    "count": 2,
    "size": 2,
    "noun": 2,
    "colour": 1,
    "setting": 0.5,
}
"""How much rather a caption is changed in this kind of fact when training focuses on the hard ones."""


class BankPhrase(NamedTuple):
    """A short text, what it states, and whether it states a count by a word of its own."""

    text: str
    concepts: tuple[str, ...]
    counted: bool = False


class SceneTexts(NamedTuple):
    """One caption of a scene and the same caption with one fact changed, in several ways."""

    caption: str
    changed: list[str]


def scene_texts(
    description: Description, rng: random.Random, changes: int, focus: bool = False
) -> SceneTexts:
    """Write a caption and up to `changes` false neighbours of it, of any kind alike.

    With `focus`, neighbours differ in different kinds of facts, and rather in those that are hard to see, first
    of all relations. Neighbours that would deny a held-out combination ("a purple boat") are left out: the
    model must not learn that such things do not exist.
    """
    caption = captions(description, rng, 1)[0]
    drawn = false_captions(description, caption, rng, FOCUS_POOL if focus else changes + 2)
    false = [(text, kind) for text, kind in drawn if not _names_held_out(text)]
    if focus:
        by_kind = {kind: text for text, kind in false}
        order = sorted(by_kind, key=lambda kind: rng.random() ** (1 / FOCUS_WEIGHTS[kind]), reverse=True)
        false = [(by_kind[kind], kind) for kind in order]
    return SceneTexts(caption.text, [text for text, _ in false][:changes])


def phrase_bank(descriptions: Sequence[Description], rng: random.Random, own: int) -> list[BankPhrase]:
    """Draw phrases to score against every image and patch of a batch.

    Always every noun, colour and setting and some sizes and actions alone; then `own` phrases about things of
    the batch and, for each, a near miss with one look replaced; distinct texts, in a random wording each.
    """
    bank = [_noun_phrase(noun, rng) for noun in NOUNS]
    bank += [_look_phrase("colour", colour, colour, rng) for colour in COLOURS]
    bank += [_look_phrase("size", size, rng.choice(lexicon.SIZE_WORDS[size]), rng) for size in SIZES]
    actions = sorted({action for actions in ACTIONS.values() for action in actions})
    bank += [_look_phrase("action", action, action, rng) for action in actions]
    bank += [_setting_phrase(setting, rng) for setting in SETTINGS]
    things = [thing for description in descriptions for thing in description.things]
    for thing in rng.sample(things, min(own, len(things))):
        about = _count_phrase if rng.random() < 0.3 else _thing_phrase
        bank += [about(thing, rng), about(_near_miss(thing, rng), rng)]
    return list({entry.text: entry for entry in bank}.values())


def relation_phrases(scenes: Sequence[Scene], rng: random.Random, alone: int) -> list[BankPhrase]:
    """Say where things are, each with the contrary: "a boat to the left of something", "a boat on the left".

    One thing of every scene that states a relation, and `alone` things of the other scenes.
    """
    bank = []
    for scene in scenes:
        if scene.relation is not None:
            index = rng.randrange(2)
            relation = scene.relation if index == 0 else CONVERSE[scene.relation]
            noun = scene.things[index].noun
            bank += [_relation_phrase(noun, relation, rng), _relation_phrase(noun, CONVERSE[relation], rng)]
    others = [thing.noun for scene in scenes if scene.relation is None for thing in scene.things]
    for noun in rng.sample(others, min(alone, len(others))):
        words = ("left", "right") if rng.random() < 0.5 else ("above", "below")
        bank += [_half_phrase(noun, word) for word in words]
    return list({entry.text: entry for entry in bank}.values())


def place_phrases(rng: random.Random) -> list[BankPhrase]:
    """Name each half of the picture: "on the left", "a photo of something below"."""
    bank = []
    for kind, words in (("across", ("left", "right")), ("along", ("above", "below"))):
        for word in words:
            text = _place(word)
            if rng.random() < 0.5:
                text = prompt(f"{SOMETHING} {text}", rng)
            bank.append(BankPhrase(text, (f"{kind}:{word}",)))
    return bank


def prompt(text: str, rng: random.Random) -> str:
    """Give the text alone, or set in one of the zero-shot templates."""
    return rng.choice(("{}", *lexicon.ZERO_SHOT_TEMPLATES)).format(text)


def with_article(words: str) -> str:
    """Put "a" or "an" before the words, whichever fits."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def vocabulary() -> list[str]:
    """List every word and mark that the tiny SigLIP's tokenizer knows."""
    return sorted({*lexicon.VOCABULARY, SOMETHING, ",", "."})


def _noun_phrase(noun: str, rng: random.Random) -> BankPhrase:
    text = noun if rng.random() < 0.1 else prompt(with_article(noun), rng)
    return BankPhrase(text, (concept("noun", noun), concept("count", "one")))


def _look_phrase(kind: str, value: str, word: str, rng: random.Random) -> BankPhrase:
    return BankPhrase(prompt(f"{SOMETHING} {word}", rng), (f"{kind}:{value}",))


def _setting_phrase(setting: str, rng: random.Random) -> BankPhrase:
    text, concepts = setting_phrase(setting, rng)
    return BankPhrase(prompt(text, rng) if text in lexicon.SCENERIES[setting] else text, concepts)


def _relation_phrase(noun: str, relation: str, rng: random.Random) -> BankPhrase:
    words = rng.choice(lexicon.RELATION_WORDS[relation])
    facts = (concept("noun", noun), concept("relation", relation), concept("count", "one"))
    return BankPhrase(f"{with_article(noun)} {words} {SOMETHING}", facts)


def _half_phrase(noun: str, word: str) -> BankPhrase:
    axis = "across" if word in ("left", "right") else "along"
    return BankPhrase(
        f"{with_article(noun)} {_place(word)}",
        (concept("noun", noun), f"{axis}:{word}", concept("count", "one")),
    )


def _place(word: str) -> str:
    return f"on the {word}" if word in ("left", "right") else word


def _thing_phrase(thing: Thing, rng: random.Random) -> BankPhrase:
    text, concepts = phrase(thing, rng)
    one = concept("count", "one")
    return BankPhrase(prompt(text, rng), (*(name for name in concepts if name != one), one))


def _count_phrase(thing: Thing, rng: random.Random) -> BankPhrase:
    """Write "two boats", "three red boats": the count by a word, the noun, sometimes the colour."""
    coloured = rng.random() < 0.6
    noun = thing.noun if thing.count == "one" else lexicon.plural(thing.noun)
    words = [rng.choice(lexicon.COUNT_WORDS[thing.count]), *([thing.colour] if coloured else []), noun]
    concepts = [concept("noun", thing.noun), concept("count", thing.count)]
    if coloured:
        concepts.append(concept("colour", thing.colour))
    return BankPhrase(prompt(" ".join(words), rng), tuple(concepts), counted=True)


def _near_miss(thing: Thing, rng: random.Random) -> Thing:
    """Replace the noun, colour, size, count or action of a thing, never into a held-out combination."""
    while True:
        match rng.choice(("noun", "colour", "size", "count", "action")):
            case "noun":
                miss = replace(thing, noun=rng.choice(NOUNS))
            case "colour":
                miss = replace(thing, colour=rng.choice(COLOURS))
            case "size":
                miss = replace(thing, size=rng.choice(SIZES))
            case "count":
                miss = replace(thing, count=rng.choice(tuple(COUNTS)))
            case _:
                miss = replace(thing, action=rng.choice((None, *ACTIONS.get(thing.noun, ()))))
        capable = miss.action is None or miss.action in ACTIONS.get(miss.noun, ())
        if miss != thing and capable and not held_out(miss.noun, miss.colour):
            return miss


def _held_out_pattern() -> re.Pattern[str]:
    actions = "|".join(sorted({action for actions in ACTIONS.values() for action in actions}))
    forms = []
    for noun, colours in HELD_OUT.items():
        nouns = f"(?:{noun}|{lexicon.plural(noun)})"
        hues = f"(?:{'|'.join(colours)})"
        forms += [
            rf"{hues} (?:(?:{actions}) )?{nouns}",
            rf"{nouns} (?:(?:{actions}) )?that (?:is|are) {hues}",
        ]
    return re.compile(rf"\b(?:{'|'.join(forms)})\b")


_HELD_OUT_PATTERN = _held_out_pattern()


def _names_held_out(text: str) -> bool:
    return _HELD_OUT_PATTERN.search(text) is not None
