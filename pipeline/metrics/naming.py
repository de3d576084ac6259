"""Which tokens of a text name a category: its word or its plural."""

import functools
import re
from collections.abc import Sequence

IRREGULAR_PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "foot": "feet",
    "tooth": "teeth",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "shelf": "shelves",
    "wolf": "wolves",
    "calf": "calves",
    "scarf": "scarves",
    "fish": "fish",
    "sheep": "sheep",
    "deer": "deer",
}
_WORD_START = ("▁", "Ġ", " ")
_WORD_END = ("</w>", " ")
_CONTINUATION = "##"


def names(category: str) -> tuple[str, ...]:
    """The category's word(s) in lower case, then the plural(s) that English may give them.

    >>> names("wine glass")
    ('wine glass', 'wine glasses')
    """
    singular = " ".join(category.lower().split())
    rest, _, head = singular.rpartition(" ")
    plurals = [f"{rest} {plural}".strip() for plural in _plurals(head)]
    return tuple(dict.fromkeys([singular, *plurals]))


def is_named(text: str, category: str) -> bool:
    """Whether `text` contains the category's word or plural, as whole words, in any case."""
    return _pattern(category).search(text.lower()) is not None


def naming_tokens(pieces: Sequence[str], category: str) -> list[int]:
    """Positions of the tokens that write the category's word or plural, whole words only.

    Args:
        pieces: Text of each valid token in order, in the tokenizer's own spelling: sentencepiece (`▁cat`),
            byte-level BPE (`Ġcat`), CLIP's BPE (`cat</w>`), WordPiece (`##s`), or whole words.
        category: For example `traffic light`; a category of several words takes several tokens.

    Returns:
        Sorted positions, empty when the text does not name the category.
    """
    text, owner = _spell(pieces)
    places = (place for match in _pattern(category).finditer(text) for place in range(*match.span()))
    return sorted({position for place in places if (position := owner[place]) is not None})


def _plurals(noun: str) -> list[str]:
    plurals = [IRREGULAR_PLURALS[noun]] if noun in IRREGULAR_PLURALS else []
    if re.search(r"[^aeiou]y$", noun):
        return [*plurals, noun[:-1] + "ies"]
    if noun.endswith("o"):
        return [*plurals, noun + "s", noun + "es"]
    return [*plurals, noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")]


@functools.cache
def _pattern(category: str) -> re.Pattern[str]:
    alternatives = "|".join(r"\s+".join(map(re.escape, name.split())) for name in names(category))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")


def _spell(pieces: Sequence[str]) -> tuple[str, list[int | None]]:
    """The text in lower case, and for each of its characters the token it came from (None: a space)."""
    marks_words = any(piece.startswith(_WORD_START) or piece.endswith(_WORD_END) for piece in pieces)
    text, owner = "", list[int | None]()
    for position, piece in enumerate(pieces):
        whole_word = not marks_words and not piece.startswith(_CONTINUATION)
        written = " " + piece if whole_word else piece.removeprefix(_CONTINUATION)
        written = re.sub("▁|Ġ|</w>", " ", written).lower()
        text += written
        owner += [None if character.isspace() else position for character in written]
    return text, owner
