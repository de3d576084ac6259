"""How a value of somebody's file is shown in a message: on one line, of bounded length, nothing in it but text."""

import reprlib
import unicodedata
from typing import Any

LONGEST = 200
"""Characters of a shown value; what is longer ends in an ellipsis."""

_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which those around them are shown."""

_NOT_TEXT = frozenset(["Cc", "Cs", "Zl", "Zp"])
"""Unicode categories: control characters, halves of a character, separators of lines and of paragraphs."""


class _Outline(reprlib.Repr):
    """`repr` of the beginning of a value; its work is bounded, however large or deeply shared the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = LONGEST

    def repr_int(self, x: int, level: int) -> str:
        """A number of thousands of digits, which Python refuses to write out, by its size."""
        bits = x.bit_length()
        return super().repr_int(x, level) if bits < 3 * LONGEST else f"(a number of {bits} bits)"


_OUTLINE = _Outline()


def shown_value(value: Any) -> str:
    """A value as Python writes it, for a message: `'dog'`, `[1, 2]`."""
    return _shortened(_OUTLINE.repr(value).replace("\n", " "))


def shown_text(text: object) -> str:
    """A name, a key or a library's message, for a message: the same without quotation marks."""
    return _shortened(" ".join(str(text)[: 4 * LONGEST].split()))


def _shortened(line: str) -> str:
    return visible(line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}...")


def visible(text: str) -> str:
    r"""The text with every character that a terminal would obey instead of showing written as `\x1b`, `\u202e`.

    Line feeds and tabs stay. So do joiners, without which some scripts and emoji cannot be written.
    """
    if text.isascii() and text.isprintable():  # as nearly all of it is
        return text
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character in "\n\t" or (
        character not in _BIDIRECTIONAL and unicodedata.category(character) not in _NOT_TEXT
    ):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
