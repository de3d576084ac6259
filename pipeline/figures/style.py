"""How every figure looks, and how it is written so that the same inputs give the same bytes."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text

from pipeline.errors import ConfigError
from pipeline.runs.files import replacing

WIDTHS = {"column": 3.25, "text": 5.5, "page": 6.875}
"""Inches: one column of a two-column page (CVPR, ICML), the text of a one-column page (NeurIPS, ICLR), both columns."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by colour-blind eyes, too; without the yellow, which is lost on white."""

INK, QUIET, LIT, BOX = "#15171c", "#666b78", "#fb9d07", "#ff3b30"
"""Text, lesser text, the ground of a word that fires a latent, the frame of a patch."""

IMAGE_FORMATS = (".pdf", ".png", ".svg")
DOTS_PER_INCH = 300

_NO_CLOCK: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}

_STYLE: Any = {  # matplotlib types the keys by name, other ones in each version
    # Both come with matplotlib, so that every machine sets the same type; the second has what the first lacks.
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "font.size": 8,
    "text.color": INK,
    "text.parse_math": False,  # captions may hold dollar signs
    "pdf.fonttype": 42,
    "svg.hashsalt": "concord",
    "axes.linewidth": 0.5,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw and save in the style of all figures while the block runs; `undrawn_characters` tells what no font has."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def check_outputs(outputs: Sequence[Path], suffixes: Sequence[str] = IMAGE_FORMATS) -> None:
    """Refuse, before any work, files whose suffix names no format that can be written.

    Raises:
        ConfigError: the suffix is another one.
    """
    for path in outputs:
        if path.suffix not in suffixes:
            known = ", ".join(suffixes)
            raise ConfigError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {known}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure whole, or leave the file as it was; its suffix says the format. No clock is written into it.

    Raises:
        RunError: the file cannot be written.
    """
    with replacing(path) as file, paper_style():
        figure.savefig(file, format=path.suffix[1:], dpi=DOTS_PER_INCH, metadata=_NO_CLOCK[path.suffix])


def undrawn_characters(figure: Figure) -> str:
    """The characters of the figure's texts that none of its fonts has, each once: they are drawn as empty boxes."""
    shown = {
        character for text in figure.findobj(Text) if isinstance(text, Text) for character in text.get_text()
    }
    return "".join(
        sorted(one for one in shown if ord(one) not in _characters_of_fonts() and not one.isspace())
    )


@cache
def _characters_of_fonts() -> frozenset[int]:
    fonts = (get_font(findfont(family)) for family in _STYLE["font.family"])
    return frozenset(character for font in fonts for character in font.get_charmap())


def place_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without a frame at a place counted in inches from the figure's upper left corner."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = (whole_height - top - height) / whole_height
    axes = figure.add_axes((left / whole_width, bottom, width / whole_width, height / whole_height))
    axes.set_axis_off()
    return axes


def write_text(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Text whose anchor is counted in inches from the figure's upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, **style)
