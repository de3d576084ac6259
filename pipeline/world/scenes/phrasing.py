"""How a description is put into words: every choice of a caption's wording, drawn apart from the facts."""

import random
from dataclasses import dataclass, replace

from pipeline.world.scenes import lexicon
from pipeline.world.scenes.scene import Description, Kind, Thing

WORDINGS = 60
"""A wording is chosen by a number below this, modulo how many there are: fair for one to six of them."""


@dataclass(frozen=True)
class Mention:
    """How one thing is spoken of. Its noun is always said; numbers choose wordings, None leaves the fact out.

    `pattern` is a key of `lexicon.NOUN_PHRASES`. A single object is counted by its article, unless `numeral`.
    """

    index: int
    pattern: str = "plain"
    count: int | None = 0
    size: int | None = None
    colour: bool = False
    action: bool = False
    numeral: bool = False


@dataclass(frozen=True)
class Phrasing:
    """Every choice that turns a description into one caption.

    `place` chooses the words for the setting, an adverbial ("on the beach") or, with `scenery`, what the caption is
    about ("a beach with ..."). `relation` chooses the words for the relation, in a sentence of its own if `clause`.
    """

    mentions: tuple[Mention, ...]
    frame: int = 0
    place: int | None = None
    scenery: bool = False
    relation: int | None = None
    clause: bool = False


def draw_phrasing(description: Description, rng: random.Random, everything: bool) -> Phrasing:
    """Draw a phrasing that fits the description and states every fact, or else each with some probability."""
    indices = list(range(len(description.things)))
    rng.shuffle(indices)
    related = description.relation is not None and (everything or rng.random() < 0.6)
    if not everything and not related:
        indices = indices[: rng.randint(1, len(indices))]
    placed = everything or rng.random() < 0.6
    return Phrasing(
        mentions=tuple(draw_mention(description.things[index], index, rng, everything) for index in indices),
        frame=rng.randrange(WORDINGS),
        place=rng.randrange(WORDINGS) if placed else None,
        scenery=rng.random() < 0.2,
        relation=rng.randrange(WORDINGS) if related else None,
        clause=rng.random() < 0.4,
    )


def draw_mention(thing: Thing, index: int, rng: random.Random, everything: bool) -> Mention:
    """Draw a way to speak of `description.things[index]`, stating all its facts or each with some probability."""

    def stated(probability: float) -> bool:
        return everything or rng.random() < probability

    counted = thing.count == "one" or stated(0.6)
    return Mention(
        index=index,
        pattern=rng.choices(tuple(lexicon.NOUN_PHRASES), weights=(6, 2, 1, 1))[0],
        count=rng.randrange(WORDINGS) if counted else None,
        size=rng.randrange(WORDINGS) if stated(0.4) else None,
        colour=stated(0.65),
        action=thing.action is not None and stated(0.6),
        numeral=rng.random() < 0.12,
    )


def shortened(phrasing: Phrasing, rng: random.Random) -> Phrasing:
    """Leave out one size, or once no size is said, one thing."""
    mentions = list(phrasing.mentions)
    sized = [position for position, mention in enumerate(mentions) if mention.size is not None]
    if sized:
        position = rng.choice(sized)
        mentions[position] = replace(mentions[position], size=None)
    else:
        mentions.pop()
    return replace(phrasing, mentions=tuple(mentions))


def stated_kinds(mention: Mention) -> list[Kind]:
    """List the kinds of fact that the mention states; an article counts."""
    kinds: list[Kind] = ["noun"]
    if mention.colour:
        kinds.append("colour")
    if mention.size is not None:
        kinds.append("size")
    if mention.count is not None:
        kinds.append("count")
    if mention.action:
        kinds.append("action")
    return kinds
