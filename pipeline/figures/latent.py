"""One latent in pictures and in words: LUCID (arXiv 2602.07311), figures 4 and 6, with the captions beside them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from pipeline.figures.heatmap import show_picture
from pipeline.figures.lettering import shortened, text_width
from pipeline.figures.style import BOX, INK, LIT, QUIET, paper_style, place_axes, write_text
from pipeline.interpretation.captions import LitCaption, Piece
from pipeline.interpretation.latent import Latent
from pipeline.interpretation.sightings import Sighting, crop_around

_GAP = 0.05
_HEAD = 0.24
_LINE = 0.165
_POINTS = 8.0
_SMALL = 6.5
_CROP_PIXELS = 192


def latent_figure(
    latent: Latent,
    sightings: Sequence[Sighting],
    pictures: Sequence[Image.Image],
    captions: int,
    grid: tuple[int, int],
    units: tuple[str, str],
    width: float,
) -> Figure:
    """The pictures with the peak patch boxed, its surroundings cropped below, and the captions set by their peak.

    A dictionary of whole pictures and captions has no places: its figure has neither boxes nor crops.

    Args:
        latent: The latent.
        sightings: Where it fires, strongest first.
        pictures: The image of each sighting, as the backbone sees it.
        captions: Captions to show at most.
        grid: Rows and columns of the patch grid.
        units: What the dictionary reads of each side, in the plural.
        width: Of the figure, in inches.
    """
    lines = latent.captions[:captions]
    cell = (width + _GAP) / max(len(pictures), 1) - _GAP
    height = cell * max((picture.height / picture.width for picture in pictures), default=0.0)
    placed = [sighting.patch is not None for sighting in sightings]
    crop = cell if any(placed) else 0.0
    below = _HEAD + height + (_GAP + crop if crop else 0.0)
    with paper_style():
        figure = Figure(figsize=(width, below + 0.08 + _LINE * len(lines)))
        _head(figure, latent, units, width)
        for column, (sighting, picture) in enumerate(zip(sightings, pictures, strict=True)):
            left = column * (cell + _GAP)
            axes = place_axes(figure, left, _HEAD, cell, height)
            show_picture(axes, picture)
            if sighting.patch is not None:
                _frame(axes, *divmod(sighting.patch, grid[1]), *grid)
                below_picture = place_axes(figure, left, _HEAD + height + _GAP, cell, crop)
                _show_crop(below_picture, picture, sighting.patch, grid)
        for number, line in enumerate(lines):
            _concordance_line(figure, line, below + 0.08 + _LINE * (number + 0.5), width)
    return figure


def _head(figure: Figure, latent: Latent, units: tuple[str, str], width: float) -> None:
    row = latent.row
    number = f"latent {latent.number}, " if row["named"] else ""
    rates = f"{row['vision_frequency']:.1%} of {units[0]}, {row['text_frequency']:.1%} of {units[1]}"
    title = shortened(latent.title, 10, width / 2)
    write_text(figure, 0, 0.1, title, va="center", fontsize=10, weight="bold")
    start = text_width(title, 10, "bold") + 0.1
    note = shortened(f"{number}{rates}", 7, width - start)
    write_text(figure, start, 0.11, note, va="center", fontsize=7, color=QUIET)


def _frame(axes: Axes, row: int, column: int, rows: int, columns: int) -> None:
    """A box around one patch of a grid that fills the axes: red between two white lines, seen on any picture."""
    for colour, line in (("white", 2.4), (BOX, 1.2)):
        place, size = (column / columns, row / rows), (1 / columns, 1 / rows)
        axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=colour, linewidth=line, clip_on=False))


def _show_crop(axes: Axes, picture: Image.Image, patch: int, grid: tuple[int, int]) -> None:
    """The patches around the peak."""
    row, column = divmod(patch, grid[1])
    window = crop_around(row, column, grid)
    across, down = picture.width / grid[1], picture.height / grid[0]
    left, top, wide, high = (
        window.column * across,
        window.row * down,
        window.columns * across,
        window.rows * down,
    )
    size = (_CROP_PIXELS, max(1, round(_CROP_PIXELS * high / wide)))
    closer = picture.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))
    show_picture(axes, closer)
    _frame(axes, row - window.row, column - window.column, window.rows, window.columns)


def _concordance_line(figure: Figure, caption: LitCaption, middle: float, width: float) -> None:
    """A caption whose strongest word starts at the middle of the figure; one that was read whole starts at its left."""
    value = f"{caption.activation:.2f}"
    write_text(figure, width, middle, value, ha="right", va="center_baseline", fontsize=_SMALL, color=QUIET)
    right = width - text_width("00.00", _SMALL) - 0.1
    if caption.peak is None:
        whole = shortened(caption.pieces[0].text, _POINTS, right)
        write_text(figure, 0, middle, whole, va="center_baseline", fontsize=_POINTS)
        return
    start, left = 0.55 * width, 0.55 * width
    for piece in reversed(caption.before):
        left -= _piece_width(piece)
        if left < 0:
            break
        _write_piece(figure, piece, left, middle, QUIET)
    for piece in caption.after:
        if start + _piece_width(piece) > right:
            write_text(figure, start, middle, "…", va="center_baseline", fontsize=_POINTS)
            break
        _write_piece(figure, piece, start, middle, INK)
        start += _piece_width(piece)


def _piece_width(piece: Piece) -> float:
    return text_width(_written(piece), _POINTS)


def _written(piece: Piece) -> str:
    return f" {piece.text}" if piece.spaced else piece.text


def _write_piece(figure: Figure, piece: Piece, left: float, middle: float, colour: str) -> None:
    """One token on a ground as strong as it fires the latent; underlined where the caption peaks."""
    space = text_width(" ", _POINTS) if piece.spaced else 0.0
    start, wide = left + space, text_width(piece.text, _POINTS)
    if piece.strength > 0:
        ground = tuple(1 - piece.strength * (1 - channel) for channel in to_rgb(LIT))
        _fill(figure, start, middle - 0.07, wide, 0.14, ground)
        if piece.peak:
            _fill(figure, start, middle + 0.06, wide, 0.012, to_rgb(BOX))
    write_text(figure, start, middle, piece.text, va="center_baseline", fontsize=_POINTS, color=colour)


def _fill(
    figure: Figure, left: float, top: float, wide: float, high: float, colour: tuple[float, ...]
) -> None:
    width, height = figure.get_size_inches()
    place, size = (left / width, 1 - (top + high) / height), (wide / width, high / height)
    figure.add_artist(
        Rectangle(place, *size, facecolor=colour, edgecolor="none", transform=figure.transFigure)
    )
