"""Things people make: house, umbrella, cup, hat, ball and key."""

from __future__ import annotations

from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.shapes import Shape, area, box, circle, ellipse, line, paint, solid


def house(palette: Palette) -> str:
    """Draw a cottage: gabled roof, chimney, door and two windows."""
    return (
        solid(palette, box(70, 8, 14, 34, 2), colour=palette.dark)
        + solid(palette, box(11, 40, 78, 58, 4))
        + solid(palette, area("M45 4Q50 1 55 4L96 42Q100 49 93 50H7Q0 49 4 42Z"))
        + paint(
            palette.dark,
            box(11, 52, 78, 5),
            line(
                "M30 36q5 5 10 0M60 36q5 5 10 0M16 42q5 4 10 0"
                "M45 43q5 4 10 0M74 42q5 4 10 0M36 25q3 3 6 2M64 25q-3 3 -6 2",
                2.5,
            ),
        )
        + paint(palette.light, line("M12 40L46 9", 4), box(14, 60, 4, 34, 2))
        + paint(
            palette.paper,
            area("M42 98V76Q42 66 50 66Q58 66 58 76V98Z"),
            box(22, 61, 14, 15, 2),
            box(66, 61, 14, 15, 2),
            circle(50, 31, 7),
        )
        + paint(palette.dark, circle(54.5, 84, 1.8), line("M29 61V76M22 68.5H36M73 61V76M66 68.5H80", 2))
    )


def umbrella(palette: Palette) -> str:
    """Draw an open umbrella with a scalloped edge and a crook handle."""
    return (
        paint(palette.stem, line("M50 8V3.5M50 50V86Q50 96 41 96Q33 96 33 88", 6))
        + solid(
            palette,
            area(
                "M2 54Q4 8 50 7Q96 8 98 54Q90 44 82 44Q72 44 66 54Q60 45 50 45Q40 45 34 54Q28 44 18 44Q10 44 2 54Z"
            ),
        )
        + paint(palette.light, area("M50 7Q34 18 34 54Q28 44 18 44Q10 44 2 54Q4 8 50 7Z"))
        + paint(palette.dark, area("M50 7Q66 18 66 54Q72 44 82 44Q90 44 98 54Q96 8 50 7Z"))
        + paint(
            palette.main,
            area("M50 7Q20 16 18 44Q10 44 2 54Q4 8 50 7Z"),
            area("M50 7Q80 16 82 44Q76 44 70 49Q70 22 50 7Z"),
        )
    )


def cup(palette: Palette) -> str:
    """Draw a mug with a big round handle."""
    return (
        solid(palette, line("M78 34H92Q107 34 107 52Q107 72 76 76", 10))
        + solid(palette, area("M3 10H87L82 86Q80 98 68 98H22Q10 98 8 86Z"))
        + solid(palette, ellipse(45, 11, 42, 8.5))
        + paint(palette.dark, ellipse(45, 12, 35, 5.5), area("M87 22L82 86Q80 98 68 98H44Q74 92 76 24Z"))
        + paint(palette.light, line("M16 34L20 80", 7))
    )


def hat(palette: Palette) -> str:
    """Draw a wide-brimmed sun hat with a ribbon."""
    return (
        solid(
            palette,
            area("M34 78Q34 3 80 2Q126 3 126 78Z"),
            area("M2 80Q6 66 40 66H120Q154 66 158 80Q150 98 80 98Q10 98 2 80Z"),
        )
        + paint(palette.light, line("M46 44Q50 20 68 13", 8))
        + paint(palette.dark, area("M4 84Q40 92 80 92Q120 92 156 84Q146 98 80 98Q14 98 4 84Z"))
        + paint(palette.paper, area("M34 58Q80 68 126 58Q127 66 127 74Q80 84 33 74Q33 66 34 58Z"))
    )


def ball(palette: Palette) -> str:
    """Draw a beach ball with curved panels."""
    return (
        solid(palette, circle(50, 50, 48))
        + paint(palette.light, line("M15 32Q20 20 32 13", 7))
        + paint(palette.paper, area("M50 50Q44 18 62 4Q84 10 94 32Q76 34 50 50Z"))
        + paint(palette.dark, area("M94 64Q88 88 64 96Q46 100 30 93Q76 92 94 64Z"))
        + paint(palette.paper, area("M50 50Q30 78 14 80Q2 68 2 50Q26 60 50 50Z"), circle(50, 50, 8))
    )


def key(palette: Palette) -> str:
    """Draw an old door key: a ring, a shaft and two teeth."""
    ring = circle(48, 50, 46)
    hole = circle(48, 50, 22)
    return (
        solid(
            palette,
            box(80, 38, 112, 24, 8),
            box(150, 50, 16, 46, 4),
            box(174, 50, 16, 36, 4),
            Shape(ring.data + hole.data),
        )
        + paint(palette.light, line("M12 42Q18 18 40 13", 8), line("M98 45H178", 5))
        + paint(palette.dark, area("M48 96Q94 96 94 50H84Q82 86 40 84Q40 96 48 96Z"))
    )
