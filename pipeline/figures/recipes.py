"""The recipes of the study beside each other: a panel per figure, a dot per recipe with its spread over seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from matplotlib.figure import Figure

from pipeline.figures.style import COLOURS, WIDTHS, paper_style

_ROW, _HEAD = 0.16, 0.6
"""Inches of a recipe's row, and above and below all of them."""


def draw_recipes(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> Figure:
    """Draw what was measured.

    Args:
        panels: by title of a panel, setting (a colour) and recipe (a row), the values of all seeds.
    """
    rows = list(
        dict.fromkeys(row for panel in panels.values() for setting in panel.values() for row in setting)
    )
    with paper_style():
        figure = Figure(figsize=(2 * WIDTHS["page"], _HEAD + _ROW * max(1, len(rows))), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, settings) in zip(axes, panels.items(), strict=True):
            axis.set_title(title)
            axis.grid(axis="x", linewidth=0.3)
            for number, (setting, recipes) in enumerate(settings.items()):
                shown = {row: values for row, values in recipes.items() if values}
                axis.errorbar(
                    [fmean(values) for values in shown.values()],
                    [rows.index(row) for row in shown],
                    xerr=[stdev(values) if len(values) > 1 else 0.0 for values in shown.values()],
                    fmt="o",
                    markersize=2.5,
                    linewidth=0.8,
                    color=COLOURS[number % len(COLOURS)],
                    label=setting,
                )
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].invert_yaxis()
        if rows:
            axes[0].legend(fontsize=6)
    return figure
