"""Tables as text: Markdown for pages, LaTeX for papers."""

from collections.abc import Iterable, Sequence
from typing import Literal

from tabulate import tabulate

Markup = Literal["markdown", "latex"]

_FORMATS = {"markdown": "pipe", "latex": "latex_booktabs"}
_LATEX = str.maketrans(
    {"²": "$^2$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "\N{MINUS SIGN}": "$-$", "–": "--"}
)


def table_text(columns: Sequence[str], rows: Iterable[Sequence[str]], markup: Markup = "markdown") -> str:
    """A table whose first column is set left and whose other ones are set right; cells stay as they are given.

    LaTeX needs the package booktabs; what it would take for a command is escaped.
    """
    sides = ("left", *("right" for _ in columns[1:]))
    text: str = tabulate(rows, columns, _FORMATS[markup], disable_numparse=True, colalign=sides)
    return text.translate(_LATEX) if markup == "latex" else text
