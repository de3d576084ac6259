"""Things that travel: car, train, bicycle and boat."""

from __future__ import annotations

from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.shapes import area, box, circle, line, paint, ring, solid


def _wheel(palette: Palette, x: float, y: float, radius: float) -> str:
    return (
        paint(palette.outline, circle(x, y, radius + 1.5))
        + paint(palette.wheel, circle(x, y, radius))
        + paint(palette.metal, circle(x, y, radius * 0.5))
    )


def car(palette: Palette) -> str:
    """Draw a round little car seen from the side."""
    return (
        solid(
            palette,
            area(
                "M2 66Q2 46 24 43L38 41Q48 3 70 2H92Q112 3 126 40L140 43Q158 47 158 66V74Q158 84 148 84H12Q2 84 2 74Z"
            ),
        )
        + paint(palette.light, line("M12 54Q20 50 36 49H120", 5))
        + paint(palette.dark, area("M2 75H158Q158 84 148 84H12Q2 84 2 75Z"))
        + paint(
            palette.paper,
            area("M49 41Q56 13 70 12H78V41Z"),
            area("M86 41V12H92Q104 13 114 41Z"),
            circle(150, 59, 5.5),
        )
        + paint(palette.dark, line("M90 56H98", 4))
        + _wheel(palette, 40, 80, 16.5)
        + _wheel(palette, 120, 80, 16.5)
    )


def train(palette: Palette) -> str:
    """Draw a steam engine: cab, boiler, chimney and wheels."""
    return (
        solid(
            palette,
            area("M118 40L112 5H140L134 40Z"),
            box(78, 22, 16, 24, 8),
            box(40, 36, 108, 44, 16),
            box(8, 12, 48, 68, 4),
            area("M140 66L158 86H126Z"),
        )
        + solid(palette, box(2, 3, 60, 12, 5))
        + paint(palette.light, line("M66 46H134", 6))
        + paint(
            palette.dark,
            box(8, 71, 140, 8),
            box(72, 37, 6, 42),
            box(104, 37, 6, 42),
            area("M112 5H140L138.5 14H113.5Z"),
        )
        + paint(palette.paper, box(18, 24, 27, 22, 4), circle(143, 56, 5))
        + _wheel(palette, 30, 80, 16.5)
        + _wheel(palette, 76, 85, 11.5)
        + _wheel(palette, 110, 85, 11.5)
    )


def bicycle(palette: Palette) -> str:
    """Draw a sturdy bicycle: two fat wheels, a diamond frame, saddle and handlebar."""
    return (
        paint(palette.wheel, line("M60 12Q52 8 46 10M112 10Q108 5 98 5", 7))
        + solid(
            palette,
            ring(33, 65, 25, 11),
            ring(127, 65, 25, 11),
            line("M33 65L62 24H108L76 66H33M62 24L76 66M108 8L127 65", 8),
        )
        + paint(
            palette.light,
            line("M64 24H104", 3),
            line("M16 55Q20 46 30 43", 4),
            line("M110 55Q114 46 124 43", 4),
        )
        + paint(palette.dark, circle(76, 66, 8))
        + paint(palette.wheel, line("M46 8Q58 4 72 10", 9), line("M108 8Q102 3 94 7", 7))
        + paint(palette.metal, circle(33, 65, 4.5), circle(127, 65, 4.5), circle(76, 66, 3.5))
    )


def boat(palette: Palette) -> str:
    """Draw a boat at rest: sail furled on the boom, pennant at the masthead."""
    return (
        paint(palette.stem, line("M44 5V60M44 46H90", 5))
        + solid(palette, area("M46 3L74 12L46 22Z"))
        + paint(palette.paper, line("M54 43H86", 8))
        + paint(palette.stem, line("M62 39V48M78 39V48", 2))
        + solid(palette, area("M3 56Q52 64 101 56Q98 88 78 98H28Q8 90 3 56Z"))
        + paint(palette.light, area("M3 56Q52 64 101 56L100.5 61Q52 69 3.5 61Z"))
        + paint(palette.dark, area("M19 90Q52 96 88 89Q84 95 78 98H28Q23 96 19 90Z"))
        + paint(palette.paper, circle(34, 77, 4.5), circle(52, 78, 4.5), circle(70, 77, 4.5))
    )


def boat_sailing(palette: Palette) -> str:
    """Draw a boat under full sail, foam at its hull."""
    return (
        paint(palette.stem, line("M47 4V70", 5))
        + solid(palette, area("M53 5Q86 26 95 60Q74 64 53 60Z"), area("M42 18Q20 36 10 60Q26 63 42 60Z"))
        + paint(palette.light, line("M36 32Q26 42 20 54", 5), line("M59 22Q70 32 75 40", 5))
        + paint(palette.dark, area("M53 52Q74 57 93 53Q94 57 95 60Q74 64 53 60Z"))
        + solid(palette, area("M4 68Q52 74 101 64Q94 88 78 94H28Q12 88 4 68Z"))
        + paint(palette.dark, area("M14 84Q52 90 93 82Q88 90 78 94H28Q18 91 14 84Z"))
        + paint(
            palette.water,
            area(
                "M1 99Q2 91 10 91Q18 91 23 96Q29 90 37 90Q46 90 52 95"
                "Q58 90 67 90Q75 90 81 96Q86 91 94 91Q102 91 103 99Z"
            ),
        )
    )
