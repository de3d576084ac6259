"""How many names are right, by kind of concept: a table of all variants that were held against the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NameCount:
    """Of `named` latents whose true concept is of one kind, `correct` carry a word for it."""

    named: int
    correct: int


@dataclass(frozen=True)
class NameTable:
    """Names held against the truth.

    Attributes:
        variants: the columns.
        rows: (kind, count of each variant); None where a variant named no latent of that kind.
        totals: names of all kinds.
        in_captions: names that are right about the captions which the latent tells apart; None where not counted.
        on_both_sides: latents that tell the same concept apart on both sides, which bounds `totals`; None likewise.
    """

    variants: tuple[str, ...]
    rows: tuple[tuple[str, tuple[NameCount | None, ...]], ...]
    totals: tuple[NameCount, ...]
    in_captions: tuple[NameCount | None, ...]
    on_both_sides: tuple[NameCount | None, ...]

    @property
    def summary(self) -> tuple[tuple[str, tuple[NameCount | None, ...]], ...]:
        """The rows over all kinds."""
        counted = (
            ("right about captions", self.in_captions),
            ("same concept on both sides", self.on_both_sides),
        )
        return (("all kinds", self.totals), *(row for row in counted if any(row[1])))


def name_table(scores: Sequence[tuple[str, Mapping[str, Any]]]) -> NameTable | None:
    """A row for every kind of concept that some variant has; None where no variant was scored.

    Args:
        scores: (variant, its score as `score_names` gives it).
    """
    if not scores:
        return None
    kinds = sorted({kind for _, score in scores for kind in score["kinds"]})
    rows = ((kind, tuple(_count(score["kinds"].get(kind)) for _, score in scores)) for kind in kinds)
    in_captions, on_both_sides = (
        tuple(_of_all(score, key) for _, score in scores)
        for key in ("correct_in_captions", "same_on_both_sides")
    )
    totals = tuple(NameCount(score["named"], score["correct"]) for _, score in scores)
    variants = tuple(variant for variant, _ in scores)
    return NameTable(variants, tuple(rows), totals, in_captions, on_both_sides)


def _of_all(score: Mapping[str, Any], key: str) -> NameCount | None:
    return NameCount(score["named"], score[key]) if key in score else None


def _count(count: Mapping[str, int] | None) -> NameCount | None:
    return NameCount(count["named"], count["correct"]) if count else None
