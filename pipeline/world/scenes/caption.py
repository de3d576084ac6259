"""English for a scene: varied captions that state some or all of its facts, and false ones that differ in one fact.

A caption is written from a `Phrasing`, a record of every choice of words. Writing other facts with the same phrasing
changes the words of those facts only.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.world.scenes import lexicon
from pipeline.world.scenes.phrasing import (
    Mention,
    Phrasing,
    draw_mention,
    draw_phrasing,
    shortened,
    stated_kinds,
)
from pipeline.world.scenes.scene import (
    CONVERSE,
    Description,
    Kind,
    Thing,
    alternatives,
    concept,
    with_fact,
)

LONGEST = 30
"""The most tokens of a caption; a comma counts as one, like a word."""


class Phrase(NamedTuple):
    """A text and the concepts that it states."""

    text: str
    concepts: tuple[str, ...]


class WrittenCaption(NamedTuple):
    """A caption, the concepts that it states, and the phrasing that it was written with."""

    text: str
    concepts: tuple[str, ...]
    phrasing: Phrasing


def captions(description: Description, rng: random.Random, count: int) -> list[WrittenCaption]:
    """Write `count` true captions, different from one another wherever a few attempts can make them so.

    About six in ten state everything that fits into `LONGEST` tokens, the others a part of it.
    """
    written: list[WrittenCaption] = []
    for _ in range(count):
        caption = _draw_caption(description, rng)
        for _ in range(8):
            if all(caption.text != other.text for other in written):
                break
            caption = _draw_caption(description, rng)
        written.append(caption)
    return written


def write(description: Description, phrasing: Phrasing) -> WrittenCaption:
    """Write the caption that the phrasing makes of the facts."""
    phrases = [_noun_phrase(description.things[mention.index], mention) for mention in phrasing.mentions]
    stated = [fact for phrase in phrases for fact in phrase.concepts]
    slots = {
        "things": _listed([phrase.text for phrase in phrases]),
        "is": _is(description.things[phrasing.mentions[0].index]),
    }
    if phrasing.place is not None:
        slots["place"] = _pick(lexicon.PLACES[description.setting], phrasing.place)
        slots["scenery"] = _pick(lexicon.SCENERIES[description.setting], phrasing.place)
        stated.append(concept("setting", description.setting))
    if phrasing.relation is not None and description.relation is not None:
        first_is_subject = phrasing.mentions[0].index == 0
        relation = description.relation if first_is_subject else CONVERSE[description.relation]
        slots["relation"] = _pick(lexicon.RELATION_WORDS[relation], phrasing.relation)
        slots["first"], slots["second"] = phrases[0].text, phrases[1].text
        slots["things"] = lexicon.RELATED.format(**slots)
        stated.append(concept("relation", relation))
    text = _pick(_frames(phrasing), phrasing.frame).format(**slots)
    return WrittenCaption(_tidy(text), tuple(dict.fromkeys(stated)), phrasing)


def caption_pair(description: Description, kind: Kind, rng: random.Random) -> tuple[str, str] | None:
    """Write a true caption and a false one that differ in one fact of that kind; None if there is no such fact."""
    things = range(len(description.things))
    if kind != "noun" and not any(alternatives(description, kind, index) for index in things):
        return None
    while True:  # Any fact is stated by a fair share of the captions.
        caption = _draw_caption(description, rng)
        if facts := [fact for fact in _falsifiable(description, caption.phrasing) if fact[0] == kind]:
            _, index, values = rng.choice(facts)
            false = with_fact(description, kind, rng.choice(values), index)
            return caption.text, write(false, caption.phrasing).text


def false_captions(
    description: Description, caption: WrittenCaption, rng: random.Random, count: int
) -> list[tuple[str, Kind]]:
    """Write up to `count` different texts in the caption's own phrasing, each with one stated fact made false.

    Its kind is drawn first, from those that the caption states, then the fact, then the false value. Fewer come back
    when the caption has fewer such neighbours. Returns (text, kind of the false fact).
    """
    facts = _falsifiable(description, caption.phrasing)
    kinds = tuple(dict.fromkeys(kind for kind, _, _ in facts))
    written: dict[str, Kind] = {}
    for _ in range(4 * count if kinds else 0):  # "a boat sailing" has no neighbour.
        if len(written) == count:
            break
        kind = rng.choice(kinds)
        _, index, values = rng.choice([fact for fact in facts if fact[0] == kind])
        false = with_fact(description, kind, rng.choice(values), index)
        written.setdefault(write(false, caption.phrasing).text, kind)
    return list(written.items())


def phrase(thing: Thing, rng: random.Random, sized: bool = True) -> Phrase:
    """Name the region of one object: "boat", "a red boat", "a small red boat", "a bird flying".

    With `sized` false the size goes unsaid: a crop that was scaled does not show it.
    """
    one = replace(thing, count="one")
    mention = draw_mention(one, 0, rng, everything=rng.random() < 0.3)
    mention = replace(mention, size=mention.size if sized else None, numeral=False)
    text, concepts = _noun_phrase(one, mention)
    text = _tidy(text)
    return Phrase(text.split(" ", 1)[1] if rng.random() < 0.3 else text, concepts)


def setting_phrase(setting: str, rng: random.Random) -> Phrase:
    """Name the setting alone: "on the beach", "a sandy beach"."""
    table = rng.choice((lexicon.PLACES, lexicon.SCENERIES))
    return Phrase(rng.choice(table[setting]), (concept("setting", setting),))


def _draw_caption(description: Description, rng: random.Random) -> WrittenCaption:
    everything = rng.random() < 0.6
    caption = write(description, draw_phrasing(description, rng, everything))
    while _tokens(caption.text) > LONGEST:
        caption = write(description, shortened(caption.phrasing, rng))
    return caption


def _falsifiable(description: Description, phrasing: Phrasing) -> list[tuple[Kind, int, tuple[str, ...]]]:
    """List each stated fact that can be made false: its kind, its thing and the false values."""
    facts: list[tuple[Kind, int]] = []
    if phrasing.place is not None:
        facts.append(("setting", 0))
    if phrasing.relation is not None and description.relation is not None:
        facts.append(("relation", 0))
    told = description
    for mention in phrasing.mentions:
        facts.extend((kind, mention.index) for kind in stated_kinds(mention))
        if not mention.action:  # An action left unsaid does not narrow down the nouns.
            things = list(told.things)
            things[mention.index] = replace(things[mention.index], action=None)
            told = replace(told, things=tuple(things))
    return [(*fact, values) for fact in facts if (values := alternatives(told, *fact))]


def _frames(phrasing: Phrasing) -> Sequence[str]:
    if phrasing.relation is not None and phrasing.clause:
        placed = phrasing.place is not None
        return lexicon.RELATION_CLAUSES_WITH_PLACE if placed else lexicon.RELATION_CLAUSES
    if phrasing.place is None:
        return lexicon.FRAMES
    return lexicon.FRAMES_WITH_SCENERY if phrasing.scenery else lexicon.FRAMES_WITH_PLACE


def _noun_phrase(thing: Thing, mention: Mention) -> Phrase:
    stated = [concept("noun", thing.noun)]
    slots = {
        "noun": thing.noun if thing.count == "one" else lexicon.plural(thing.noun),
        "is": _is(thing),
        "count": "a" if thing.count == "one" else "",
        "size": "",
        "colour": "",
        "action": "",
    }
    if mention.count is not None and (thing.count != "one" or mention.numeral):
        slots["count"] = _pick(lexicon.COUNT_WORDS[thing.count], mention.count)
        stated.append(concept("count", thing.count))
    if mention.size is not None:
        slots["size"] = _pick(lexicon.SIZE_WORDS[thing.size], mention.size)
        stated.append(concept("size", thing.size))
    if mention.colour:
        slots["colour"] = thing.colour
        stated.append(concept("colour", thing.colour))
    if mention.action and thing.action is not None:
        slots["action"] = thing.action
        stated.append(concept("action", thing.action))
    needed = {"coloured": mention.colour, "acting": mention.action}
    pattern = mention.pattern if needed.get(mention.pattern, True) else "plain"
    return Phrase(lexicon.NOUN_PHRASES[pattern].format(**slots), tuple(stated))


def _pick(wordings: Sequence[str], choice: int) -> str:
    return wordings[choice % len(wordings)]


def _is(thing: Thing) -> str:
    return "is" if thing.count == "one" else "are"


def _listed(phrases: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(phrases[:-1]), phrases[-1]) if part)


def _tidy(text: str) -> str:
    """Leave single spaces, none before a comma, and put "an" before a vowel."""
    text = re.sub(r" +(?=,|$)", "", " ".join(text.split()))
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def _tokens(text: str) -> int:
    return len(lexicon.words(text)) + text.count(",")
