"""One latent with everything that stands on its page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.captions import LitCaption, keywords
from pipeline.report.evidence import Evidence
from pipeline.report.neighbours import Neighbour


@dataclass(frozen=True)
class LatentPage:
    """One latent.

    Attributes:
        folder: where its variant's pages are, relative to the report's root.
        row: its row of `latents.parquet`.
        kind: what sort of concept its name is ("noun"), where the concept list says so.
        images: where it fires in the interpreted split, strongest first.
        unseen: where it fires in the split of unseen combinations.
        unseen_frequency: share of that split's patches that fire it; None without the split.
        captions: which words fire it.
        neighbours: the latents that resemble it most.
    """

    folder: str
    row: Mapping[str, Any]
    kind: str | None
    images: tuple[Evidence, ...]
    unseen: tuple[Evidence, ...]
    unseen_frequency: float | None
    captions: tuple[LitCaption, ...]
    neighbours: tuple[Neighbour, ...]

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
    def agreement(self) -> float:
        """Share of its captions that peak at a term of its name's cluster: do words and pictures agree on it?"""
        terms = {term.lower() for term in self.terms}
        return sum(caption.keyword in terms for caption in self.captions) / max(len(self.captions), 1)


def specimens(latents: Sequence[LatentPage], count: int) -> list[LatentPage]:
    """The latents on which pictures and captions agree best, of as many kinds as there are."""
    turns: Counter[str | None] = Counter()
    ranked: list[tuple[bool, int, int, LatentPage]] = []
    for place, latent in enumerate(sorted(latents, key=lambda latent: -latent.agreement)):
        ranked.append((latent.agreement < 0.5, turns[latent.kind], place, latent))
        turns[latent.kind] += 1
    return [latent for *_, latent in sorted(ranked, key=lambda entry: entry[:3])[:count]]
