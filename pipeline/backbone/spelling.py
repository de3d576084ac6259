"""How the tokens of a text spell it: its words, and where a term stands, always in what the tokenizer itself decodes.

A token of a byte-level tokenizer may hold a part of a character (of "é", of an emoji), so a token alone has no text.
What has one is a word: neighbouring tokens, decoded together.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_CLOSING = {".", ",", "!", "?"}
"""Shown without a space before them: many tokenizers do not keep whether there was one."""

_WITHOUT_SPACES = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}
"""Scripts that write no spaces between words, by the first word of their characters' Unicode names."""

_JOINER = "\N{ZERO WIDTH JOINER}"
_SKIN_TONES = range(0x1F3FB, 0x1F400)

Decode = Callable[[Sequence[int]], str]
"""From token ids, none of them special, to the text that they stand for."""


class Word(NamedTuple):
    """Neighbouring tokens that write one word, a mark of punctuation, or (`special`) stand for no text."""

    text: str
    """As the tokenizer decodes it; bytes that are no whole character, where a text was cut, are shown as "\ufffd"."""
    spaced: bool
    """Whether a space precedes it."""
    special: bool
    tokens: range
    """Positions of the tokens; a spelling's words take all of them, in order."""


@dataclass(frozen=True)
class Spelling:
    """One text as its tokens write it.

    Attributes:
        text: what the tokenizer decodes; a special token is a space in it.
        owners: for every character of `text` the positions of the tokens that write it; none for special tokens.
        special: per position of a special token its name.
        unknown: positions of the token that stands for words which the tokenizer does not know.
        tokens: how many there are.
    """

    text: str
    owners: tuple[range, ...]
    special: Mapping[int, str]
    unknown: tuple[int, ...]
    tokens: int

    def words(self) -> list[Word]:
        """The text word by word."""
        places: dict[int, list[int]] = {}
        for place, (owner, character) in enumerate(zip(self.owners, self.text, strict=True)):
            if owner and not character.isspace():
                places.setdefault(owner.start, []).append(place)
        words: list[Word] = []
        for tokens in self._runs():
            if tokens.start in self.special:
                words.append(Word(self.special[tokens.start], bool(words), special=True, tokens=tokens))
                continue
            visible = [place for token in tokens for place in places.get(token, ())]
            text = self.text[visible[0] : visible[-1] + 1] if visible else ""
            spaced = bool(words and visible) and self.text[visible[0] - 1].isspace() and text not in _CLOSING
            words.append(Word(text, spaced, special=False, tokens=tokens))
        return words

    def occurrences(self, terms: Collection[str]) -> list[int]:
        """Positions of the tokens that write any of `terms`, as whole words, in any case; sorted."""
        folded, owners = _folded(self.text, self.owners)
        spans = (span for term in terms for span in _spans(folded, term))
        return sorted({token for start, stop in spans for owner in owners[start:stop] for token in owner})

    def _runs(self) -> Iterator[range]:
        """The tokens of each word."""
        joined = self._joined()
        starts = [token for token in range(self.tokens) if token not in joined]
        yield from (range(start, stop) for start, stop in pairwise([*starts, self.tokens]))

    def _joined(self) -> set[int]:
        """Tokens that belong to the word of the token before them."""
        joined = {token for owner in self.owners for token in owner[1:]}
        written = list(zip(self.owners, self.text, strict=True))
        for (owner, character), (follower, following) in pairwise(written):
            if owner and follower and in_one_word(character, following):
                joined |= set(range(owner.stop, follower.start + 1))
        visible = {token for owner, character in written if not character.isspace() for token in owner}
        for token in range(self.tokens):
            if token not in visible and token not in self.special:  # a space alone: of the word that follows
                follows = token + 1 < self.tokens and token + 1 not in self.special
                precedes = token > 0 and token - 1 not in self.special
                if follows:
                    joined.add(token + 1)
                elif precedes:
                    joined.add(token)
        return joined


def spell(
    token_ids: Sequence[int], decode: Decode, special: Mapping[int, str], unknown: int | None = None
) -> Spelling:
    """The spelling of one text's tokens.

    Args:
        token_ids: of one text, in order.
        decode: the tokenizer's.
        special: ids that stand for no text, and their names.
        unknown: that of words which the tokenizer does not know.
    """
    text, owners = "", list[range]()
    for is_special, group in groupby(range(len(token_ids)), key=lambda place: token_ids[place] in special):
        places = list(group)
        if is_special:
            written, of_group = " ", [range(0)]
        else:
            written, of_group = _decoded([token_ids[place] for place in places], decode)
        text += written
        first = places[0]
        owners += [range(owner.start + first, owner.stop + first) if owner else owner for owner in of_group]
    names = {place: special[token] for place, token in enumerate(token_ids) if token in special}
    unknowns = tuple(place for place, token in enumerate(token_ids) if token == unknown)
    return Spelling(text, tuple(owners), names, unknowns, len(token_ids))


def contains_term(text: str, terms: Collection[str]) -> bool:
    """Whether `text` contains any of `terms`, as whole words, in any case."""
    folded, _ = _folded(text, [range(0)] * len(text))
    return any(True for term in terms for _ in _spans(folded, term))


def folded(text: str) -> str:
    """The text without what does not tell words apart: case, and how accented letters are composed."""
    return unicodedata.normalize("NFKD", text.casefold())


@lru_cache(maxsize=1 << 14)
def in_one_word(first: str, second: str) -> bool:
    """Whether two neighbouring characters belong to one word, or to one composed character."""
    if unicodedata.category(second).startswith("M") or _JOINER in (first, second):
        return True
    if ord(second) in _SKIN_TONES:
        return True
    return all(_is_letter(one) and not _stands_alone(one) for one in (first, second))


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character == "_"


def _stands_alone(character: str) -> bool:
    return unicodedata.name(character, "").split(" ")[0] in _WITHOUT_SPACES


def _decoded(token_ids: Sequence[int], decode: Decode) -> tuple[str, list[range]]:
    """The text of tokens, and which of them write each of its characters.

    A token writes what the text of the tokens up to it has more than that of the tokens before it. A character that is
    only whole with a later token is written by all tokens since the one that began it.
    """
    text, owners = decode(token_ids), list[range]()
    begun: int | None = None
    for position in range(len(token_ids)):
        so_far = decode(token_ids[: position + 1])
        whole = _common_length(so_far, text)
        for _ in range(len(owners), whole):
            owners.append(range(position if begun is None else begun, position + 1))
            begun = None
        if len(so_far) > whole and begun is None:
            begun = position
    return text, owners


def _common_length(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next(
        (place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second))
    )


def _folded(text: str, owners: Sequence[range]) -> tuple[str, list[range]]:
    """`folded` of a text and the owners of its characters, each letter together with its accents."""
    parts, of_parts = list[str](), list[range]()
    place = 0
    while place < len(text):
        stop = place + 1
        while stop < len(text) and unicodedata.combining(text[stop]):
            stop += 1
        part = folded(text[place:stop])
        held = [owner for owner in owners[place:stop] if owner]
        whole = range(held[0].start, held[-1].stop) if held else range(0)
        parts.append(part)
        of_parts += [whole] * len(part)
        place = stop
    return "".join(parts), of_parts


def _spans(text: str, term: str) -> Iterator[tuple[int, int]]:
    """Where a folded text has the term between the boundaries of words."""
    words = r"\s+".join(map(re.escape, folded(term).split()))
    if not words:
        return
    for match in re.finditer(f"(?=({words}))", text):
        start, stop = match.span(1)
        begins = start == 0 or not in_one_word(text[start - 1], text[start])
        ends = stop == len(text) or not in_one_word(text[stop - 1], text[stop])
        if begins and ends:
            yield start, stop


def over_words(
    combine: np.ufunc, of_tokens: Float[np.ndarray, "*other token"], words: Sequence[Word]
) -> Float[np.ndarray, "*other word"]:
    """What tokens have, combined for the tokens of each word: `np.add` of masses, `np.maximum` of activations."""
    if not words:
        return of_tokens[..., :0]
    starts = [word.tokens.start for word in words]
    return np.asarray(combine.reduceat(of_tokens, starts, axis=-1))
