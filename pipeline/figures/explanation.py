"""An explanation as a figure: where each latent fires, and which patches the transport links to which words."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from pipeline.figures.heatmap import show_picture
from pipeline.figures.lettering import shortened
from pipeline.figures.style import COLOURS, QUIET, paper_style, place_axes, write_text
from pipeline.interpretation.explanation import Explanation, FiringLatent
from pipeline.report.heat import overlay

_COLUMNS = 4
_CELL = 1.6
_GAP = 0.08
_TITLE = 0.2
_WORDS = 0.2
_LINKS_HEIGHT = 3.2
_LINKS_PER_WORD = 3


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
    words = [word.text for word in explanation.words]
    high = min(_CELL * picture.height / picture.width, 2 * _CELL)
    row_height = _TITLE + high + _WORDS + _GAP
    rows = -(-len(latents) // _COLUMNS)
    width = _COLUMNS * (_CELL + _GAP) - _GAP
    with paper_style():
        below = 0.0 if explanation.plan is None else _LINKS_HEIGHT
        figure = Figure(figsize=(width, max(rows * row_height + below, _TITLE)))
        for place, latent in enumerate(latents):
            top, left = (place // _COLUMNS) * row_height, (place % _COLUMNS) * (_CELL + _GAP)
            _show_latent(figure, latent, picture, names.get(latent.latent, ""), words, (left, top, high))
        if explanation.plan is not None:
            _show_links(figure, picture, words, explanation.plan, rows * row_height + _GAP)
    return figure


def _show_latent(
    figure: Figure,
    latent: FiringLatent,
    picture: Image.Image,
    name: str,
    words: Sequence[str],
    place: tuple[float, float, float],
) -> None:
    """One latent's number and name, its heat map, and the words that fire it, strongest first."""
    left, top, high = place
    title = shortened(f"{name} {latent.latent}".strip(), 9, _CELL)
    write_text(figure, left, top + _TITLE / 2, title, va="center", fontsize=9)
    heat = overlay(picture, latent.heat / latent.activation)
    show_picture(place_axes(figure, left, top + _TITLE, _CELL, high), heat)
    order = np.argsort(-latent.words, kind="stable")
    lit = ", ".join(words[place] for place in order if latent.words[place] > 0)
    middle = top + _TITLE + high + _WORDS / 2
    write_text(figure, left, middle, shortened(lit, 7, _CELL), va="center", fontsize=7, color=QUIET)


def _show_links(
    figure: Figure,
    picture: Image.Image,
    words: Sequence[str],
    plan: Float[np.ndarray, "row column word"],
    top: float,
) -> None:
    """Each word, beside the picture, with lines to the patches that give it most; wider where it is more."""
    width, height = figure.get_size_inches()
    tall = height - top
    axes = place_axes(figure, 0, top, width, tall)
    shown = picture.width / picture.height * tall
    scale = min(1.0, 0.6 * width / shown)  # room for the words
    shown, tall_picture = shown * scale, tall * scale
    axes.imshow(picture, extent=(0, shown, tall_picture, 0), aspect="auto", interpolation="antialiased")
    rows, columns, _ = plan.shape
    largest = float(plan.max()) or 1.0
    heights = np.linspace(0.06 * tall, 0.94 * tall, len(words)) if len(words) > 1 else np.array([tall / 2])
    word_left = 0.86 * width
    for place, (word, middle) in enumerate(zip(words, heights, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        axes.text(word_left, middle, f" {word}", color=colour, va="center", fontsize=9)
        strongest = np.argsort(-plan[:, :, place], axis=None, kind="stable")[:_LINKS_PER_WORD]
        for row, column in zip(*np.divmod(strongest, columns), strict=True):
            share = float(plan[row, column, place]) / largest
            start = ((column + 0.5) / columns * shown, (row + 0.5) / rows * tall_picture)
            axes.plot([start[0], word_left], [start[1], middle], color=colour, linewidth=0.3 + 1.7 * share)
            axes.plot(*start, "o", color=colour, markersize=2 + 2.5 * share, markeredgecolor="white")
    axes.set_xlim(0, width)
    axes.set_ylim(tall, 0)
