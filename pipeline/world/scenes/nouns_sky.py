"""Things of the sky: sun, moon, star, heart, balloon and kite."""

from __future__ import annotations

import math

from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.shapes import Shape, area, circle, ellipse, line, paint, solid


def _face(palette: Palette, x: float, y: float, spread: float) -> str:
    """Draw two eyes, a smile and cheeks, centred at (x, y)."""
    s = spread
    return (
        paint(
            palette.blush, *(ellipse(x + side * s * 1.55, y + s * 0.6, s * 0.42, s * 0.3) for side in (-1, 1))
        )
        + paint(palette.ink, *(circle(x + side * s, y, s * 0.24) for side in (-1, 1)))
        + paint(
            palette.ink, line(f"M{x - s * 0.5:g} {y + s * 0.5:g}q{s * 0.5:g} {s * 0.6:g} {s:g} 0", s * 0.22)
        )
    )


def _polar(x: float, y: float, radius: float, degrees: float) -> str:
    angle = math.radians(degrees)
    return f"{x + radius * math.cos(angle):.1f} {y + radius * math.sin(angle):.1f}"


def sun(palette: Palette) -> str:
    """Draw a smiling disc inside a ring of separate, stout rays."""
    rays = [line(f"M{_polar(50, 50, 39, a)}L{_polar(50, 50, 43.5, a)}", 9) for a in range(0, 360, 30)]
    return (
        solid(palette, *rays)
        + solid(palette, circle(50, 50, 29))
        + paint(palette.light, ellipse(43, 42, 17, 15))
        + paint(palette.main, ellipse(48, 48, 19, 17))
        + _face(palette, 50, 49, 10)
    )


def moon(palette: Palette) -> str:
    """Draw a sleepy crescent opening to the right."""
    return (
        solid(palette, area("M60 3Q78 3 74 9Q44 20 44 50Q44 80 74 91Q78 97 60 97A58 47 0 0 1 60 3Z"))
        + paint(palette.light, area("M50 9Q8 18 7 50Q8 62 13 70Q10 32 50 9Z"))
        + paint(palette.dark, circle(40, 77, 4), circle(52, 86, 3), circle(40, 20, 3))
        + paint(palette.ink, line("M22 42q6 6 13 1", 3.5), line("M24 60q7 6 13 0", 3.5))
        + paint(palette.blush, ellipse(17, 53, 5, 3.4))
    )


def star(palette: Palette) -> str:
    """Draw a plump five-pointed star."""
    points = "L".join(_polar(52, 54, 47 if k % 2 == 0 else 25, -90 + 36 * k) for k in range(10))
    outline = Shape(f"M{points}Z")
    return (
        solid(palette, outline, line(f"M{points}Z", 7))
        + paint(palette.light, line(f"M{_polar(52, 54, 40, -90)}L{_polar(52, 54, 24, -126)}", 6))
        + _face(palette, 52, 54, 10)
    )


def heart(palette: Palette) -> str:
    """Draw a heart with a shine on its left cheek."""
    return (
        solid(
            palette,
            area(
                "M54 97C32 78 2 58 2 30C2 12 15 2 29 2C41 2 50 9 54 18"
                "C58 9 67 2 79 2C93 2 106 12 106 30C106 58 76 78 54 97Z"
            ),
        )
        + paint(palette.dark, area("M54 97C76 78 106 58 106 30C106 22 103 15 99 10C104 44 74 68 44 88Z"))
        + paint(palette.light, line("M15 36Q12 16 30 13", 8))
    )


def balloon(palette: Palette) -> str:
    """Draw a balloon at rest, its string hanging straight down."""
    return (
        paint(palette.stem, line("M33 68V97", 4))
        + solid(palette, area("M33 66Q2 56 2 31Q3 3 33 2Q63 3 64 31Q64 56 33 66Z"), area("M33 64L25 75H41Z"))
        + paint(
            palette.dark,
            area("M33 66Q64 56 64 31Q64 22 60 15Q60 50 20 60Q26 64 33 66Z"),
            area("M33 66L27 74H39Z"),
        )
        + paint(palette.light, ellipse(19, 24, 6, 11, 25))
    )


def balloon_flying(palette: Palette) -> str:
    """Draw a balloon leaning in the wind, its string swinging in an S."""
    return (
        paint(palette.stem, line("M24 66Q40 70 32 80T60 97", 4))
        + solid(
            palette, area("M24 63Q-2 48 4 25Q12 2 38 3Q66 8 64 32Q58 60 24 63Z"), area("M25 61L14 68L29 74Z")
        )
        + paint(
            palette.dark,
            area("M24 63Q58 60 64 32Q64 22 60 15Q54 46 14 55Q19 60 24 63Z"),
            area("M25 62L17 68L28 72Z"),
        )
        + paint(palette.light, ellipse(22, 22, 6, 11, 40))
    )


def kite(palette: Palette) -> str:
    """Draw a kite hanging upright with a tail of bows."""
    return (
        paint(palette.stem, line("M38 66Q30 74 38 82T38 97", 4))
        + solid(palette, area("M38 3L74 30L38 70L2 30Z"))
        + paint(palette.light, area("M38 12V30H15Z"))
        + paint(palette.dark, area("M73 30L38 69V60L64 30Z"))
        + paint(palette.paper, line("M38 5V68M4 30H72", 3))
        + solid(palette, area("M37 80L22 73V87Z"), area("M37 80L52 73V87Z"))
    )


def kite_flying(palette: Palette) -> str:
    """Draw a kite climbing to the upper left, its tail waving behind."""
    return (
        paint(palette.stem, line("M42 48Q46 62 58 62Q72 62 66 76Q60 88 72 97", 4))
        + solid(palette, area("M4 3L60 8L46 52L2 44Z"))
        + paint(palette.light, area("M17 9L46 11L29 23Z"))
        + paint(palette.dark, area("M45 51L3 44L10 39L41 44L56 9L59 8Z"))
        + paint(palette.paper, line("M5 4L45 50M58 9L4 43", 3))
        + solid(
            palette,
            area("M58 62L52 52L46 68Z"),
            area("M58 62L72 56L66 72Z"),
            area("M65 84L54 78V92Z"),
            area("M65 84L74 79V92Z"),
        )
    )
