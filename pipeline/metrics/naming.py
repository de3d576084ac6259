"""What names a category in a text: its word or its plural."""

import re

from pipeline.backbone.spelling import contains_term

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
    return contains_term(text, names(category))


def _plurals(noun: str) -> list[str]:
    plurals = [IRREGULAR_PLURALS[noun]] if noun in IRREGULAR_PLURALS else []
    if re.search(r"[^aeiou]y$", noun):
        return [*plurals, noun[:-1] + "ies"]
    if noun.endswith("o"):
        return [*plurals, noun + "s", noun + "es"]
    return [*plurals, noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")]
