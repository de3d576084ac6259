"""The paper's numbers, stored once, in `paper.json` beside this file."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from pydantic import Field

from pipeline.config import Options


class PaperNumber(Options):
    """One figure of the paper's tables.

    Attributes:
        table: the paper's table(s) it stands in.
        variant: this project's name of the configuration.
        metric: dotted key of the same quantity in `metrics.json`.
        value: the figure.
    """

    table: str
    variant: str
    metric: str
    value: float = Field(ge=-1, le=1)


class Paper(Options):
    """All figures, with where they come from."""

    source: str
    numbers: tuple[PaperNumber, ...]

    def by_cell(self) -> Mapping[tuple[str, str], float]:
        """Value by (variant, metric)."""
        return {(number.variant, number.metric): number.value for number in self.numbers}


@cache
def paper() -> Paper:
    """LUCID's tables 2, 3, 4 and 6 (arXiv 2602.07311)."""
    text = (resources.files("pipeline.results") / "paper.json").read_text(encoding="utf-8")
    return Paper.parse(json.loads(text), "paper.json")
