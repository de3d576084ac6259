"""One latent, with what pictures and captions say of its name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.interpretation.captions import LitCaption, keywords
from pipeline.metrics.naming import is_named, names


@dataclass(frozen=True)
class Latent:
    """One latent of an interpreted dictionary.

    Attributes:
        row: its row of `latents.parquet`.
        kind: what sort of concept its name is ("noun"), where the concept list says so.
        captions: which words fire it.
        right: whether its name is the true concept that it tells apart in pictures and in captions; None where the
            data do not know their concepts.
    """

    row: Mapping[str, Any]
    kind: str | None
    captions: tuple[LitCaption, ...]
    right: bool | None

    @property
    def number(self) -> int:
        """Column of the dictionary."""
        return int(self.row["latent"])

    @property
    def title(self) -> str:
        """Its name; for one without a good name, its number."""
        return str(self.row["name"]) if self.row["named"] else f"latent {self.number}"

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms of the cluster that names it."""
        return (
            tuple(term["term"] for term in self.row["clusters"][0]["terms"]) if self.row["clusters"] else ()
        )

    @property
    def words(self) -> tuple[tuple[str, int], ...]:
        """Tokens at which its captions peak, with how often."""
        return keywords(self.captions)

    @property
    def purity_counts(self) -> tuple[int, int]:
        """Hits in the cluster that names it, and all hits."""
        return (self.row["clusters"][0]["hits"] if self.row["clusters"] else 0), self.row["hits"]

    @property
    def borne_out(self) -> bool:
        """Whether pictures and captions both bear out its name.

        By the true concepts where the data know them. Else most of the pictures that fire it most must have a caption
        that says a term of its name, and most of the captions that fire it most must peak at one.
        """
        if self.right is not None:
            return self.right
        words = {word for term in self.terms for name in names(term) for word in name.split()}
        pictures = [self._says_it(caption) for caption in self.pictured]
        captions = [
            self._says_it(caption.text) and (caption.keyword is None or caption.keyword in words)
            for caption in self.captions
        ]
        return all(sum(told) / max(len(told), 1) > 0.5 for told in (pictures, captions))

    @property
    def pictured(self) -> tuple[str, ...]:
        """The captions of the pictures that fire it most, as far as they were looked up."""
        return ()

    def _says_it(self, text: str) -> bool:
        return any(is_named(text, term) for term in self.terms)


AnyLatent = TypeVar("AnyLatent", bound=Latent)


def specimens(latents: Sequence[AnyLatent], count: int) -> list[AnyLatent]:
    """Choose at most `count` of as many kinds as there are; those whose name both sides bear out come first."""
    turns: Counter[tuple[bool, str | None]] = Counter()
    ranked: list[tuple[bool, int, int, AnyLatent]] = []
    for place, latent in enumerate(latents):
        group = (latent.borne_out, latent.kind)
        ranked.append((not latent.borne_out, turns[group], place, latent))
        turns[group] += 1
    return [latent for *_, latent in sorted(ranked, key=lambda entry: entry[:3])[:count]]
