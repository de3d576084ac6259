"""Captions with the tokens lit that fire a latent."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SPECIAL = re.compile(r"^(<[^<>]*>|\[[A-Z]+\])$")


@dataclass(frozen=True)
class Piece:
    """One token as it is shown.

    Attributes:
        text: the token's text without its tokenizer's marks.
        spaced: whether a space precedes it.
        strength: the latent's activation there as a share of the strongest shown, in [0, 1].
        peak: whether it is the caption's strongest token.
        special: whether it stands for no word, such as the end of the text.
    """

    text: str
    spaced: bool
    strength: float
    peak: bool
    special: bool


@dataclass(frozen=True)
class LitCaption:
    """A caption token by token, and the activation at its peak."""

    pieces: tuple[Piece, ...]
    activation: float


def lit_captions(records: Sequence[Mapping[str, Any]]) -> tuple[LitCaption, ...]:
    """Rows of `top_captions` of one latent, made ready to show; strengths are relative to the first one's peak."""
    strongest = max((record["activation"] for record in records), default=1.0)
    return tuple(_lit(record, strongest) for record in records)


def _lit(record: Mapping[str, Any], strongest: float) -> LitCaption:
    written = spell(record["tokens"])
    pieces = (
        Piece(
            text, spaced, min(max(activation / strongest, 0.0), 1.0), position == record["position"], special
        )
        for position, ((text, spaced, special), activation) in enumerate(
            zip(written, record["activations"], strict=True)
        )
    )
    return LitCaption(tuple(pieces), record["activation"])


def spell(tokens: Sequence[str]) -> list[tuple[str, bool, bool]]:
    """(text, preceded by a space, special) of each token of one text, whichever tokenizer cut it.

    Sentencepiece marks a word's first token with `▁` and byte-level BPE with `Ġ`; CLIP's BPE ends a word's last token
    with `</w>`, WordPiece begins the others with `##`; unmarked tokens are whole words.
    """
    starts_marked = any(token.startswith(("▁", "Ġ", " ")) for token in tokens)
    ends_marked = any(token.endswith(("</w>", " ")) for token in tokens)
    spelled: list[tuple[str, bool, bool]] = []
    after_space = False
    for token in tokens:
        special = bool(_SPECIAL.match(token)) and token != "</w>"
        text = token.removeprefix("##").replace("▁", " ").replace("Ġ", " ").replace("</w>", " ")
        if special:
            text, spaced = token, True
        elif starts_marked or ends_marked:
            spaced = after_space or text.startswith(" ")
        else:
            spaced = not token.startswith("##") and token not in {".", ",", "!", "?", "'"}
        after_space = special or text.endswith(" ")
        spelled.append((text.strip(), spaced and bool(spelled), special))
    return spelled
