"""How many names are right, by kind of concept: a table of all variants that were held against the truth."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class NameCount(NamedTuple):
    """Of `named` latents whose true concept is of one kind, `correct` carry a word for it."""

    named: int
    correct: int


NameRow = tuple[str, tuple[NameCount | None, ...]]
"""What is counted, and its count of each variant; None where a variant has none."""


class NameTable(NamedTuple):
    """Names held against the truth.

    Attributes:
        variants: the columns.
        rows: one per kind of concept.
        summary: over all kinds: names that are right about pictures; the different concepts that these are; names that
            are right about the captions which the latent tells apart; latents that tell the same concept apart on both
            sides, which bounds the first.
    """

    variants: tuple[str, ...]
    rows: tuple[NameRow, ...]
    summary: tuple[NameRow, ...]


def name_table(scores: Sequence[tuple[str, Mapping[str, Any]]]) -> NameTable | None:
    """Give a row to every kind of concept that some variant has; None where no variant was scored.

    Args:
        scores: (variant, its score as `score_names` gives it).
    """
    if not scores:
        return None
    kinds = sorted({kind for _, score in scores for kind in score["kinds"]})
    rows = [(kind, tuple(_count(score["kinds"].get(kind, {})) for _, score in scores)) for kind in kinds]
    counted = {
        "all kinds": "correct",
        "different concepts among these": "distinct_concepts",
        "right about captions": "correct_in_captions",
        "same concept on both sides": "same_on_both_sides",
    }
    summary = [(what, tuple(_count(score, key) for _, score in scores)) for what, key in counted.items()]
    return NameTable(
        tuple(variant for variant, _ in scores), tuple(rows), tuple(row for row in summary if any(row[1]))
    )


def _count(counts: Mapping[str, Any], key: str = "correct") -> NameCount | None:
    return NameCount(counts["named"], counts[key]) if key in counts else None
