"""Pictures in columns, latents in rows, and where each fires: LUCID (arXiv 2602.07311), figures 3, 5 and 7."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from pipeline.figures.lettering import shortened, text_width
from pipeline.figures.style import QUIET, paper_style, place_axes, write_text
from pipeline.interpretation.latent import Latent
from pipeline.report.heat import SCALE, overlay

_GAP = 0.04
_LABEL = 0.9
_KEY = 0.22
_POINTS = 8.0


def heatmap_figure(
    pictures: Sequence[Image.Image],
    latents: Sequence[Latent],
    maps: Sequence[Sequence[Float[np.ndarray, "row column"]]],
    width: float,
) -> Figure:
    """Each picture, and under it the heat map of every latent over it.

    Args:
        pictures: One per column, as the backbone sees them.
        latents: One per row.
        maps: By latent and picture, in [0, 1]: shares of the latent's largest activation in these pictures.
        width: Of the figure, in inches.
    """
    names = [latent.title for latent in latents]
    label = min(_LABEL, max(text_width(name, _POINTS) for name in names) + 2 * _GAP)
    cell = (width - label) / len(pictures) - _GAP
    height = cell * max(picture.height / picture.width for picture in pictures)
    with paper_style():
        figure = Figure(figsize=(width, (len(latents) + 1) * (height + _GAP) + _KEY))
        for column, picture in enumerate(pictures):
            left = label + column * (cell + _GAP)
            show_picture(place_axes(figure, left, 0, cell, height), picture)
            for row, heat in enumerate(maps):
                top = (row + 1) * (height + _GAP)
                show_picture(place_axes(figure, left, top, cell, height), overlay(picture, heat[column]))
        for row, latent in enumerate(latents, start=1):
            _label(figure, latent, label - _GAP, row * (height + _GAP) + height / 2)
        _key(figure, label, width - _GAP, (len(latents) + 1) * (height + _GAP))
    return figure


def show_picture(axes: Axes, picture: Image.Image) -> None:
    """A picture in natural proportions, in axes whose units are shares of its width and height."""
    axes.imshow(
        picture, extent=(0, 1, 1, 0), aspect=picture.height / picture.width, interpolation="antialiased"
    )


def _label(figure: Figure, latent: Latent, right: float, middle: float) -> None:
    title = shortened(latent.title, _POINTS, right)
    write_text(
        figure,
        right,
        middle,
        title,
        ha="right",
        va="bottom" if latent.row["named"] else "center",
        fontsize=_POINTS,
    )
    if latent.row["named"]:
        write_text(
            figure, right, middle + 0.02, str(latent.number), ha="right", va="top", fontsize=6, color=QUIET
        )


def _key(figure: Figure, left: float, right: float, top: float) -> None:
    """What the colours mean."""
    write_text(figure, left, top + 0.1, "silent", va="center", fontsize=6, color=QUIET)
    bar = left + text_width("silent", 6) + 0.06
    axes = place_axes(figure, bar, top + 0.07, 0.7, 0.06)
    axes.imshow(
        np.linspace(0, 1, 128)[None], cmap=ListedColormap(SCALE), aspect="auto", interpolation="nearest"
    )
    told = shortened("the latent’s largest activation here", 6, right - bar - 0.78)
    write_text(figure, bar + 0.76, top + 0.1, told, va="center", fontsize=6, color=QUIET)
