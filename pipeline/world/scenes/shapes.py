"""Outlines of shapes as SVG path data, and the two brushes (`solid`, `paint`) that put them on paper.

A drawing is a box 100 units high. Shapes that make up an object's silhouette are laid down with `solid`, which
first draws one common outline around all of them and then fills them, so that a cat made of a head, a body and
four legs is outlined as one cat. `paint` adds the details on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.world.scenes.palette import Palette

EDGE = 2.0
"""Width of the visible outline in units; silhouettes keep this far inside their box."""


@dataclass(frozen=True)
class Shape:
    """SVG path data, filled when `width` is 0 and drawn as a round-ended line of that width otherwise."""

    data: str
    width: float = 0.0


def area(data: str) -> Shape:
    """Draw a closed shape from path data."""
    return Shape(data)


def line(data: str, width: float) -> Shape:
    """Draw a round-ended line `width` units thick."""
    return Shape(data, width)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, turn: float = 0.0) -> Shape:
    """Draw an ellipse centred at (x, y), turned clockwise by `turn` degrees."""
    dx, dy = radius_x * math.cos(math.radians(turn)), radius_x * math.sin(math.radians(turn))
    arc = f"A{radius_x:g} {radius_y:g} {turn:g} 1 1"
    return Shape(f"M{x - dx:.1f} {y - dy:.1f}{arc} {x + dx:.1f} {y + dy:.1f}{arc} {x - dx:.1f} {y - dy:.1f}Z")


def circle(x: float, y: float, radius: float) -> Shape:
    """Draw a circle centred at (x, y)."""
    return ellipse(x, y, radius, radius)


def ring(x: float, y: float, radius: float, width: float) -> Shape:
    """Draw a circle drawn as a line `width` units thick."""
    return Shape(circle(x, y, radius).data, width)


def box(x: float, y: float, width: float, height: float, corner: float = 0.0) -> Shape:
    """Draw a rectangle with rounded corners."""
    c = min(corner, width / 2, height / 2)
    right, bottom = x + width, y + height
    return Shape(
        f"M{x + c:g} {y:g}H{right - c:g}Q{right:g} {y:g} {right:g} {y + c:g}V{bottom - c:g}"
        f"Q{right:g} {bottom:g} {right - c:g} {bottom:g}H{x + c:g}"
        f"Q{x:g} {bottom:g} {x:g} {bottom - c:g}V{y + c:g}Q{x:g} {y:g} {x + c:g} {y:g}Z"
    )


def paint(colour: str, *shapes: Shape) -> str:
    """Draw the shapes in one colour, without an outline. Holes follow the even-odd rule within one shape."""
    return "".join(_element(shape, colour) for shape in shapes)


def solid(palette: Palette, *shapes: Shape, colour: str | None = None) -> str:
    """Draw the shapes as one object: a common outline under all of them, then their fill (`main` unless given)."""
    traced: dict[float, str] = {}
    for shape in shapes:
        traced[shape.width] = traced.get(shape.width, "") + shape.data
    outline = "".join(_stroke(data, palette.outline, width + 2 * EDGE) for width, data in traced.items())
    return outline + paint(colour or palette.main, *shapes)


def _element(shape: Shape, colour: str) -> str:
    if shape.width:
        return _stroke(shape.data, colour, shape.width)
    return f'<path d="{shape.data}" fill="{colour}" fill-rule="evenodd"/>'


def _stroke(data: str, colour: str, width: float) -> str:
    return (
        f'<path d="{data}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
        f'stroke-linecap="round" stroke-linejoin="round"/>'
    )
