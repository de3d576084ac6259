"""The tables of figures of all variants beside the paper's numbers, as a figure and as LaTeX."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.errors import ConfigError
from pipeline.figures.lettering import text_width
from pipeline.figures.style import INK, QUIET, WIDTHS, paper_style, write_text
from pipeline.report.pages import figure_text
from pipeline.results.paper import paper
from pipeline.results.tables import Cell, Metric, Table

_LARGEST, _SMALLEST = 8.0, 5.0
_GAP = 0.1
_ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "²": "$^2$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "\N{MINUS SIGN}": "$-$", "–": "--",
}  # fmt: skip


def table_figure(tables: Sequence[Table], width: float) -> Figure:
    """The tables under each other, ruled as LaTeX's booktabs does; the paper's figures in brackets.

    Args:
        tables: With the same variants.
        width: Of the figure, in inches; the letters are as large as it allows.

    Raises:
        ConfigError: the variants are too many for this width.
    """
    points = _fitting(tables, width)
    line = 1.45 * points / 72
    lines = sum(len(table.rows) + 1 for table in tables) + 1
    rights = _columns(tables, points, width)
    with paper_style():
        figure = Figure(figsize=(width, lines * line + _GAP * (len(tables) + 1)))
        top = _GAP / 2
        for table in tables:
            top = _write_table(figure, table, rights, top, line, points) + _GAP
        source = f"[ ] {paper().source}"
        if any(table.has_paper for table in tables):
            write_text(figure, 0, top + line / 3, source, va="center", fontsize=0.85 * points, color=QUIET)
    return figure


def _write_table(
    figure: Figure, table: Table, rights: Sequence[float], top: float, line: float, points: float
) -> float:
    """One table from `top` inches downwards, with columns that end at `rights`; gives where it ends."""
    _rule(figure, top, 0.8)
    write_text(figure, 0, top + line / 2, table.section.title, va="center", fontsize=points, weight="bold")
    for variant, right in zip(table.variants, rights, strict=True):
        write_text(figure, right, top + line / 2, variant, ha="right", va="center", fontsize=points)
    top += line
    _rule(figure, top, 0.4)
    for row in table.rows:
        middle = top + line / 2
        write_text(figure, 0, middle, _label(row.metric), va="center", fontsize=points)
        for cell, right in zip(row.cells, rights, strict=True):
            _write_cell(figure, cell, right, middle, points)
        top += line
    _rule(figure, top, 0.8)
    return top


def _write_cell(figure: Figure, cell: Cell, right: float, middle: float, points: float) -> None:
    """The value, and right of it the paper's; the space of the latter stays empty where there is none."""
    small = 0.85 * points
    if cell.paper is not None:
        told = f"[{cell.paper:.4f}]"
        write_text(figure, right, middle, told, ha="right", va="center", fontsize=small, color=QUIET)
    place = right - text_width(" [0.0000]", small)
    write_text(figure, place, middle, _value(cell), ha="right", va="center", fontsize=points)


def _columns(tables: Sequence[Table], points: float, width: float) -> list[float]:
    """Where each variant's column ends: evenly spread, the last one at the right margin."""
    label, cells = _widths(tables, points)
    count = len(cells)
    step = max(*cells, (width - label) / count)
    return [width - step * (count - 1 - column) for column in range(count)]


def _fitting(tables: Sequence[Table], width: float) -> float:
    """The largest size of letters at which the tables are at most `width` inches wide."""
    label, cells = _widths(tables, _LARGEST)
    points = min(_LARGEST, _LARGEST * width / (label + len(cells) * max(cells)))
    if points < _SMALLEST:
        remedy = "choose fewer" if width == max(WIDTHS.values()) else "choose fewer, or a wider figure"
        raise ConfigError(
            f"{len(cells)} variants do not fit into {width} inches in letters that can be read; {remedy}"
        )
    return points


def _widths(tables: Sequence[Table], points: float) -> tuple[float, list[float]]:
    """Of the widest label, and of the widest cell of each variant, with space between columns."""
    labels = [_label(row.metric) for table in tables for row in table.rows]
    label = max(text_width(text, points) for text in (*labels, *(table.section.title for table in tables)))
    beside, space = text_width(" [0.0000]", 0.85 * points), text_width("  ", points)
    cells = []
    for column, variant in enumerate(tables[0].variants):
        values = [_value(row.cells[column]) for table in tables for row in table.rows]
        widest = max(text_width(value, points) for value in values)
        cells.append(max(widest + beside, text_width(variant, points)) + space)
    return label, cells


def _value(cell: Cell) -> str:
    return "–" if cell.value is None else figure_text(cell.value)


def _label(metric: Metric) -> str:
    return f"{metric.label} {_ARROWS[metric.better]}".strip()


def _rule(figure: Figure, top: float, points: float) -> None:
    height = 1 - top / figure.get_size_inches()[1]
    line = Line2D((0, 1), (height, height), color=INK, linewidth=points, transform=figure.transFigure)
    figure.add_artist(line)


def table_latex(tables: Sequence[Table]) -> str:
    """The same as a LaTeX `tabular` that needs the package booktabs."""
    variants = tables[0].variants
    lines = [
        "% \\usepackage{booktabs}. Numbers in brackets: " + paper().source + ".",
        f"\\begin{{tabular}}{{l{'r' * len(variants)}}}",
        "\\toprule",
    ]
    for number, table in enumerate(tables):
        heads = " & ".join(_escaped(variant) for variant in variants)
        lines += ["\\midrule"] if number else []
        lines += [f"\\textbf{{{_escaped(table.section.title)}}} & {heads} \\\\", "\\midrule"]
        for row in table.rows:
            cells = " & ".join(_latex_cell(cell) for cell in row.cells)
            lines.append(f"{_escaped(_label(row.metric))} & {cells} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_cell(cell: Cell) -> str:
    value = _escaped(_value(cell))
    return value if cell.paper is None else f"{value} {{\\scriptsize [{cell.paper:.4f}]}}"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
