"""Captions with the words lit that fire a latent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Piece:
    """One word as it is shown.

    Attributes:
        text: as the tokenizer decodes it.
        spaced: whether a space precedes it.
        strength: the latent's activation there as a share of the strongest shown, in [0, 1].
        peak: whether it holds the caption's strongest token.
        special: whether it stands for no word, such as the end of the text.
    """

    text: str
    spaced: bool
    strength: float
    peak: bool
    special: bool


@dataclass(frozen=True)
class LitCaption:
    """A caption word by word, and the latent's activation at its peak; without a peak one that was read whole."""

    pieces: tuple[Piece, ...]
    activation: float

    @property
    def peak(self) -> int | None:
        """Position of the word that fires the latent most."""
        return next((position for position, piece in enumerate(self.pieces) if piece.peak), None)

    @property
    def before(self) -> tuple[Piece, ...]:
        """What precedes the peak, as the left half of a concordance's line."""
        return self.pieces[: self.peak or 0]

    @property
    def after(self) -> tuple[Piece, ...]:
        """The peak and what follows, as the right half."""
        return self.pieces[self.peak or 0 :]

    @property
    def text(self) -> str:
        """The caption as it was written."""
        return "".join(
            (" " if piece.spaced else "") + piece.text for piece in self.pieces if not piece.special
        )

    @property
    def keyword(self) -> str | None:
        """The peak's text, in lower case."""
        return None if self.peak is None else self.pieces[self.peak].text.lower()


def keywords(captions: Sequence[LitCaption]) -> tuple[tuple[str, int], ...]:
    """At which words (punctuation left out) the captions peak, with how often, the most frequent first."""
    counts = Counter(caption.keyword for caption in captions if caption.keyword is not None)
    return tuple((word, count) for word, count in counts.most_common() if any(map(str.isalnum, word)))


def lit_captions(records: Sequence[Mapping[str, Any]]) -> tuple[LitCaption, ...]:
    """Rows of `top_captions` of one latent, made ready to show; strengths are relative to the first one's peak.

    A row without a position is of a dictionary that reads whole captions, and stays unlit.
    """
    strongest = max((record["activation"] for record in records), default=1.0)
    return tuple(
        _lit(record, strongest) if record["position"] is not None else _whole(record) for record in records
    )


def _whole(record: Mapping[str, Any]) -> LitCaption:
    return LitCaption((Piece(record["caption"], False, 0.0, False, False),), record["activation"])


def _lit(record: Mapping[str, Any], strongest: float) -> LitCaption:
    pieces = (
        Piece(
            word["text"],
            word["spaced"],
            min(max(activation / strongest, 0.0), 1.0),
            position == record["position"],
            word["special"],
        )
        for position, (word, activation) in enumerate(
            zip(record["words"], record["activations"], strict=True)
        )
    )
    return LitCaption(tuple(pieces), record["activation"])
