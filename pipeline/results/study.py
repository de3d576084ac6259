"""The ablation table: every variant over several seeds, mean and spread, from the runs' metrics alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.results.catalogue import SECTIONS
from pipeline.results.decimals import spread_text
from pipeline.results.figure import Section
from pipeline.results.markup import table_text

Metrics = Mapping[str, Any]


def study_tables(runs: Mapping[str, Sequence[Metrics]], level: int = 2) -> str:
    """Set Markdown tables of mean ± standard deviation over seeds, one per section of the catalogue.

    Args:
        runs: For every variant, and for every control of one as `variant, control`, the metrics of its runs, one per
            seed.
        level: Of the headings.

    Returns:
        A figure that a variant does not have is a dash, and one that only some of its runs have says how many. No
        figure is marked as the best: the spread of a few seeds is there to be looked at.
    """
    return "\n".join(_table(section, runs, level) for section in SECTIONS)


def _table(section: Section, runs: Mapping[str, Sequence[Metrics]], level: int) -> str:
    columns: dict[str, list[str]] = {}
    for figure in section.figures:
        if figure.column:
            columns.setdefault(figure.column, []).append(figure.key)
    rows = [
        (row_label(variant), *(_cell([_value(run, keys) for run in metrics]) for keys in columns.values()))
        for variant, metrics in runs.items()
    ]
    return f"{'#' * level} {section.title}\n\n{table_text(('variant', *columns), rows)}\n"


def row_label(row: str) -> str:
    """Set the name of a variant, or of a control of one: `variant, control`."""
    variant, *control = row.split(", ")
    return ", ".join([f"`{variant}`", *control])


def _value(metrics: Metrics, paths: Sequence[str]) -> float | None:
    for path in paths:
        found: Any = metrics
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
            return float(found)
    return None


def _cell(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    some = f" ({len(present)} of {len(values)})" if len(present) < len(values) else ""
    return spread_text(present, 3) + some if present else "–"
