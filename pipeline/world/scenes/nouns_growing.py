"""Things that grow: tree, flower, mushroom and apple."""

from __future__ import annotations

import math

from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.shapes import area, circle, ellipse, line, paint, solid


def tree(palette: Palette) -> str:
    """Draw a round-crowned tree: a cloud of leaves on a stout trunk."""
    return (
        solid(palette, area("M34 97Q38 84 37 62H49Q48 84 52 97Z"), colour=palette.stem)
        + solid(
            palette,
            circle(43, 24, 22),
            circle(23, 40, 21),
            circle(63, 40, 21),
            circle(30, 58, 17),
            circle(56, 58, 17),
            circle(43, 46, 22),
        )
        + paint(
            palette.dark,
            area("M15 62Q28 76 43 66Q58 76 71 62Q70 70 62 74Q50 78 43 70Q36 78 24 74Q16 70 15 62Z"),
        )
        + paint(
            palette.light, ellipse(36, 17, 11, 8, -25), ellipse(16, 36, 7, 6, -30), ellipse(58, 34, 7, 5, -20)
        )
        + paint(palette.dark, line("M46 40q4 5 8 0", 3), line("M26 52q4 5 8 0", 3), line("M60 54q4 4 7 0", 3))
    )


def flower(palette: Palette) -> str:
    """Draw six round petals on a stalk with two leaves."""
    angles = [math.radians(30 + 60 * k) for k in range(6)]
    petals = [circle(36 + 21 * math.cos(a), 38 + 21 * math.sin(a), 15) for a in angles]
    hearts = [ellipse(36 + 18 * math.cos(a), 38 + 18 * math.sin(a), 7.5, 4, math.degrees(a)) for a in angles]
    return (
        paint(
            palette.leaf,
            line("M36 70V96", 5),
            area("M36 97Q12 98 5 79Q30 76 36 97Z"),
            area("M36 97Q60 98 67 79Q42 76 36 97Z"),
        )
        + solid(palette, *petals)
        + paint(
            palette.dark,
            *(
                ellipse(
                    36 + 19 * math.cos(a + 0.52), 38 + 19 * math.sin(a + 0.52), 8, 1.6, math.degrees(a) + 30
                )
                for a in angles
            ),
        )
        + paint(palette.light, *hearts)
        + paint(palette.dark, circle(36, 38, 12))
        + paint(palette.paper, circle(36, 37, 9.5))
    )


def mushroom(palette: Palette) -> str:
    """Draw a spotted cap on a short, round-footed stalk."""
    return (
        solid(palette, area("M40 50Q42 74 35 87Q32 98 50 98Q68 98 65 87Q58 74 60 50Z"), colour=palette.paper)
        + solid(palette, area("M2 48Q4 3 50 2Q96 3 98 48Q98 60 84 60H16Q2 60 2 48Z"))
        + paint(palette.dark, area("M3 51Q50 60 97 51Q95 60 84 60H16Q5 60 3 51Z"))
        + paint(palette.light, line("M12 38Q16 18 36 11", 6))
        + paint(palette.paper, ellipse(53, 25, 10, 9), ellipse(79, 36, 7, 8), ellipse(30, 40, 7, 6))
    )


def apple(palette: Palette) -> str:
    """Draw an apple with a stalk and one leaf."""
    return (
        paint(palette.stem, line("M47 36Q46 16 53 5", 6))
        + paint(palette.leaf, area("M54 22Q58 1 88 2Q84 28 54 22Z"))
        + solid(
            palette,
            area(
                "M48 35Q32 20 16 27Q2 34 2 57Q4 83 22 96Q35 101 48 93Q61 101 74 96Q92 83 94 57Q94 34 80 27Q64 20 48 35Z"
            ),
        )
        + paint(palette.dark, area("M94 57Q92 83 74 96Q61 101 48 93Q42 97 36 98Q84 90 86 31Q94 40 94 57Z"))
        + paint(palette.light, line("M14 54Q14 41 24 36", 8))
    )
