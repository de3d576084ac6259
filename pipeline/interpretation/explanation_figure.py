"""An explanation as a figure: where each latent fires, and which patches the transport links to which words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pipeline.interpretation.explanation import Explanation, FiringLatent

_COLUMNS = 4
_INCHES = 2.6
_LINKS_PER_TOKEN = 3


def explanation_figure(
    picture: Image.Image, explanation: Explanation, names: Mapping[int, str], count: int
) -> Figure:
    """Heat maps of the first `count` latents over the picture; below, if there is a text, its links to patches.

    Args:
        picture: What was explained, upright.
        explanation: Of it.
        names: Names of latents, where they have one.
        count: Latents to show at most.
    """
    latents = explanation.latents[:count]
    rows = max(1, -(-len(latents) // _COLUMNS))
    below = 1 if explanation.plan is not None else 0
    figure = Figure(figsize=(_COLUMNS * _INCHES, rows * (_INCHES + 0.5) + below * 4.2), layout="constrained")
    grid = figure.add_gridspec(rows + below, _COLUMNS, height_ratios=[_INCHES + 0.5] * rows + [4.2] * below)
    for place in range(rows * _COLUMNS):
        axes = figure.add_subplot(grid[place // _COLUMNS, place % _COLUMNS])
        axes.set_axis_off()
        if place < len(latents):
            _draw_heat(axes, picture, latents[place], explanation.tokens, names)
    if explanation.plan is not None:
        _draw_links(figure.add_subplot(grid[rows, :]), picture, explanation.tokens, explanation.plan)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure; the suffix says the format, `.png` and `.pdf` among others. No clock is written into it."""
    figure.savefig(path, dpi=150, metadata={"Software": None} if path.suffix == ".png" else None)


def _draw_heat(
    axes: Axes, picture: Image.Image, latent: FiringLatent, tokens: Sequence[str], names: Mapping[int, str]
) -> None:
    axes.imshow(picture.convert("L"), cmap="gray", vmin=-60, vmax=255, extent=(0, 1, 1, 0), aspect="auto")
    heat = latent.heat / latent.activation
    axes.imshow(
        heat, cmap="inferno", alpha=0.75 * heat, vmin=0, vmax=1, extent=(0, 1, 1, 0), interpolation="bilinear"
    )
    axes.set_aspect(picture.height / picture.width)
    words = [tokens[place] for place in np.argsort(-latent.words, kind="stable") if latent.words[place] > 0]
    axes.set_title(f"{latent.latent} {names.get(latent.latent, '')}".strip(), fontsize=10)
    axes.text(
        0.5, -0.02, ", ".join(words), ha="center", va="top", fontsize=8, transform=axes.transAxes, wrap=True
    )


def _draw_links(axes: Axes, picture: Image.Image, tokens: Sequence[str], plan: np.ndarray) -> None:
    """Each token, beside the picture, with lines to the patches that give it most; wider where it is more."""
    width = picture.width / picture.height
    axes.imshow(picture, extent=(0, width, 1, 0), aspect="equal")
    rows, columns, _ = plan.shape
    largest = plan.max()
    heights = np.linspace(0.04, 0.96, len(tokens)) if len(tokens) > 1 else np.array([0.5])
    for place, (token, height) in enumerate(zip(tokens, heights, strict=True)):
        colour = f"C{place % 10}"
        axes.text(width * 1.25, height, token, color=colour, va="center", fontsize=11)
        for patch in np.argsort(-plan[:, :, place], axis=None, kind="stable")[:_LINKS_PER_TOKEN]:
            row, column = divmod(int(patch), columns)
            share = plan[row, column, place] / largest if largest > 0 else 0.0
            start = ((column + 0.5) / columns * width, (row + 0.5) / rows)
            axes.plot(
                [start[0], width * 1.23],
                [start[1], height],
                color=colour,
                linewidth=0.3 + 2 * share,
                alpha=0.8,
            )
            axes.plot(*start, "o", color=colour, markersize=3 + 3 * share, markeredgecolor="white")
    axes.set_xlim(0, width * 1.7)
    axes.set_ylim(1, 0)
    axes.set_axis_off()
