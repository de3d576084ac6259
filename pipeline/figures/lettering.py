"""How wide text will be, so that it can be set word by word and fitted to a column."""

from functools import cache

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from pipeline.figures.style import paper_style

_POINTS = 72.0
_REFERENCE = 100.0


@cache
def _width_at_reference(text: str, weight: str) -> float:
    with paper_style():
        font = FontProperties(family=matplotlib.rcParams["font.family"], size=_REFERENCE, weight=weight)
        # Bars at both ends: spaces at the ends of a text have no ink and would not be counted.
        ends = text_to_path.get_text_width_height_descent("||", font, ismath=False)[0]
        whole = text_to_path.get_text_width_height_descent(f"|{text}|", font, ismath=False)[0]
    return float(whole - ends)


def text_width(text: str, points: float, weight: str = "normal") -> float:
    """Width in inches of one line of text, spaces at its ends included."""
    return _width_at_reference(text, weight) * points / _REFERENCE / _POINTS


def shortened(text: str, points: float, width: float) -> str:
    """The text, or as much of its beginning as fits into `width` inches, with an ellipsis."""
    if text_width(text, points) <= width:
        return text
    kept = text
    while kept and text_width(f"{kept}…", points) > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"
