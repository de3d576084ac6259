"""One latent with everything that stands on its page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.interpretation.captions import LitCaption, keywords
from pipeline.interpretation.neighbours import Neighbour
from pipeline.metrics.naming import is_named, names
from pipeline.report.evidence import Evidence


@dataclass(frozen=True)
class LatentPage:
    """One latent.

    Attributes:
        folder: where its variant's pages are, relative to the report's root.
        row: its row of `latents.parquet`.
        kind: what sort of concept its name is ("noun"), where the concept list says so.
        images: where it fires in the interpreted split, strongest first.
        unseen: where it fires in the second split.
        unseen_frequency: share of that split's patches that fire it; None without the split.
        captions: which words fire it.
        neighbours: the latents that resemble it most.
        right: whether its name is the true concept that it tells apart in pictures and in captions; None where the
            data do not know their concepts.
    """

    folder: str
    row: Mapping[str, Any]
    kind: str | None
    images: tuple[Evidence, ...]
    unseen: tuple[Evidence, ...]
    unseen_frequency: float | None
    captions: tuple[LitCaption, ...]
    neighbours: tuple[Neighbour, ...]
    right: bool | None = None

    @property
    def number(self) -> int:
        """Column of the dictionary."""
        return int(self.row["latent"])

    @property
    def page(self) -> str:
        """Path of its page relative to the report's root."""
        return f"{self.folder}/{self.number:04d}.html"

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
    def search_text(self) -> str:
        """What a search finds it by, in lower case: its name and terms, the words that fire it, its number, by line."""
        name = [self.row["name"]] if self.row["name"] is not None else []
        words = dict.fromkeys([*name, *self.terms, *(word for word, _ in self.words), str(self.number)])
        return "\n".join(words).lower()

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
        return (
            self.right
            if self.right is not None
            else min(self._told_by_pictures, self._told_by_captions) > 0.5
        )

    @property
    def _told_by_pictures(self) -> float:
        told = [self._says_it(evidence.caption) for evidence in self.images]
        return sum(told) / max(len(told), 1)

    @property
    def _told_by_captions(self) -> float:
        words = {word for term in self.terms for name in names(term) for word in name.split()}
        told = [
            self._says_it(caption.text) and (caption.keyword is None or caption.keyword in words)
            for caption in self.captions
        ]
        return sum(told) / max(len(told), 1)

    def _says_it(self, text: str) -> bool:
        return any(is_named(text, term) for term in self.terms)


def specimens(latents: Sequence[LatentPage], count: int) -> list[LatentPage]:
    """At most `count` latents, of as many kinds as there are; those whose name both sides bear out come first."""
    turns: Counter[tuple[bool, str | None]] = Counter()
    ranked: list[tuple[bool, int, int, LatentPage]] = []
    for place, latent in enumerate(latents):
        group = (latent.borne_out, latent.kind)
        ranked.append((not latent.borne_out, turns[group], place, latent))
        turns[group] += 1
    return [latent for *_, latent in sorted(ranked, key=lambda entry: entry[:3])[:count]]
