"""What is said of a figure of `metrics.json` once, for evaluation, report, figures and study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        key: where it is in `metrics.json`, dotted.
        label: what it is called where a table has a row per figure; empty to have none there.
        better: which way is better, if any is.
        column: what it is called where a table has a column per figure; empty to have none there. Of several figures
            with one column the first that a run has is shown.
        paper: what LUCID's paper reports of it, by this project's name of the variant.
    """

    key: str
    label: str
    better: Better = "higher"
    column: str = ""
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Figures that are shown together, and what they say, in words."""

    title: str
    text: str
    figures: tuple[Figure, ...]
