"""The tables of several runs: a figure in each row, a variant in each column, and beside it what the paper has."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.results.catalogue import PAPER, SECTIONS
from pipeline.results.decimals import figure_text
from pipeline.results.figure import Figure, Section
from pipeline.results.markup import Markup, table_text
from pipeline.results.run import Run

_ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


@dataclass(frozen=True)
class Cell:
    """One figure, and the paper's; None where there is none.

    No figure is marked as the best of its row: of every variant there is one run, and nothing says how far its figures
    would move with another seed.
    """

    value: float | None
    paper: float | None


@dataclass(frozen=True)
class Row:
    """One figure over all variants."""

    figure: Figure
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A section filled in; rows that no variant has are left out."""

    section: Section
    variants: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def in_paper(self) -> tuple[bool, ...]:
        """Of which variants the paper has any of its figures."""
        columns = zip(*(row.cells for row in self.rows), strict=True)
        return tuple(any(cell.paper is not None for cell in column) for column in columns)

    @property
    def has_paper(self) -> bool:
        """Whether the paper has any of its figures."""
        return any(self.in_paper)


def metric_tables(runs: Sequence[Run]) -> tuple[Table, ...]:
    """Fill in every section that has a figure with a row."""
    tables = (_table(section, runs) for section in SECTIONS)
    return tuple(table for table in tables if table.rows)


def choose_tables(runs: Sequence[Run], sections: Sequence[str]) -> tuple[Table, ...]:
    """Fill in the sections of these titles, in whatever case; without any, those that the paper has figures of.

    Raises:
        ConfigError: there is no such section, or none at all.
    """
    tables = {table.section.title.lower(): table for table in metric_tables(runs)}
    unknown = [section for section in sections if section.lower() not in tables]
    if unknown:
        raise ConfigError(f"no table {unknown[0]!r}: these runs have {', '.join(tables)}")
    chosen = [tables[section.lower()] for section in sections]
    chosen = chosen or [table for table in tables.values() if table.has_paper]
    if not chosen:
        raise ConfigError("the paper has no figures of these variants; name tables to show")
    return tuple(chosen)


def all_figures(runs: Sequence[Run]) -> Table:
    """List every number of every `metrics.json`, and of `stability.json`, by its key."""
    keys = dict.fromkeys(key for run in runs for key in run.metrics)
    figures = tuple(Figure(key, key, "") for key in keys)
    return _table(
        Section(
            "Every figure", "All numbers of metrics.json, and of stability.json, by their keys.", figures
        ),
        runs,
    )


def tables_text(tables: Sequence[Table], markup: Markup) -> str:
    """Set the tables under each other, each with its title as the head of its first column; the paper's in brackets."""
    source = f"Numbers in brackets: {PAPER}."
    comment = f"% \\usepackage{{booktabs}}. {source}" if markup == "latex" else source
    texts = (
        table_text(
            (table.section.title, *table.variants),
            (
                (row.figure.label + _ARROWS[row.figure.better], *map(_cell_text, row.cells))
                for row in table.rows
            ),
            markup,
        )
        for table in tables
    )
    return "\n\n".join([comment, *texts]) + "\n"


def _cell_text(cell: Cell) -> str:
    value = "–" if cell.value is None else figure_text(cell.value)
    return value if cell.paper is None else f"{value} [{cell.paper:.4f}]"


def _table(section: Section, runs: Sequence[Run]) -> Table:
    rows = []
    for figure in section.figures:
        values = [run.metrics.get(figure.key) for run in runs]
        if figure.label and any(value is not None for value in values):
            cells = (Cell(value, figure.paper.get(run.name)) for run, value in zip(runs, values, strict=True))
            rows.append(Row(figure, tuple(cells)))
    return Table(section, tuple(run.name for run in runs), tuple(rows))
