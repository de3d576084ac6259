"""Creatures of air and water: bird, butterfly and fish."""

from __future__ import annotations

from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.shapes import area, circle, ellipse, line, paint, solid


def _eye(palette: Palette, x: float, y: float, radius: float) -> str:
    """Draw a round eye looking ahead."""
    return paint(palette.paper, circle(x, y, radius)) + paint(palette.wheel, circle(x, y, radius * 0.58))


def bird(palette: Palette) -> str:
    """Draw a plump bird standing, tail cocked."""
    return (
        paint(palette.stem, line("M50 84V95H40M64 84V95H54", 5))
        + solid(palette, area("M80 50L116 16L117 40L90 66Z"), colour=palette.dark)
        + paint(palette.stem, area("M18 26L1 34L18 42Z"))
        + solid(palette, area("M12 32Q12 4 40 3Q62 4 70 26Q96 40 96 58Q92 88 56 88Q14 86 12 32Z"))
        + paint(palette.light, area("M15 46Q34 46 44 62Q50 80 46 86Q18 80 15 46Z"))
        + solid(palette, area("M52 50Q62 38 80 46Q92 52 95 62Q84 76 68 73Q50 68 52 50Z"), colour=palette.dark)
        + _eye(palette, 30, 24, 5.5)
    )


def bird_sitting(palette: Palette) -> str:
    """Draw a bird settled on a twig, feathers fluffed and tail down."""
    return (
        solid(palette, area("M84 60L117 92L100 97L72 80Z"), colour=palette.dark)
        + paint(palette.stem, line("M4 91H80", 8), area("M18 28L1 37L18 44Z"))
        + solid(palette, area("M12 38Q12 4 44 3Q76 4 88 40Q96 66 86 80Q70 90 40 88Q12 80 12 38Z"))
        + paint(palette.light, area("M14 50Q34 50 44 66Q48 80 44 88Q14 82 14 50Z"))
        + solid(palette, area("M52 42Q82 42 94 74Q78 82 64 74Q52 62 52 42Z"), colour=palette.dark)
        + _eye(palette, 32, 28, 5.5)
        + paint(palette.stem, line("M44 86V92M56 86V92", 5))
    )


def bird_flying(palette: Palette) -> str:
    """Draw a bird on the wing, both wings spread."""
    return (
        solid(palette, area("M50 52Q44 20 20 4Q52 2 72 48Z"), colour=palette.dark)
        + solid(palette, area("M86 60L117 57L108 69L116 83L82 80Z"), colour=palette.dark)
        + paint(palette.stem, area("M14 59L1 67L16 74Z"))
        + solid(palette, area("M12 66Q14 46 32 46Q50 48 70 55Q92 60 94 71Q80 97 50 97Q16 93 12 66Z"))
        + paint(palette.light, area("M14 76Q40 78 62 95Q56 97 50 97Q20 94 14 76Z"))
        + solid(palette, area("M46 64Q50 26 98 4Q108 2 108 12Q106 50 80 68Q60 76 46 64Z"))
        + paint(palette.dark, line("M62 62Q76 46 98 24M74 64Q86 54 96 42", 4))
        + _eye(palette, 30, 61, 5.5)
    )


def butterfly(palette: Palette) -> str:
    """Draw a butterfly at rest with all four wings laid open."""
    return (
        paint(palette.wheel, line("M56 22Q50 6 42 4M64 22Q70 6 78 4", 4))
        + solid(
            palette,
            area("M58 50Q40 8 12 10Q-4 18 6 44Q14 60 58 54Z"),
            area("M62 50Q80 8 108 10Q124 18 114 44Q106 60 62 54Z"),
            area("M58 52Q22 56 14 76Q16 98 36 97Q54 90 58 58Z"),
            area("M62 52Q98 56 106 76Q104 98 84 97Q66 90 62 58Z"),
        )
        + paint(palette.light, ellipse(27, 32, 11, 13, -30), ellipse(93, 32, 11, 13, 30))
        + paint(palette.dark, ellipse(34, 77, 8, 10, 30), ellipse(86, 77, 8, 10, -30))
        + paint(
            palette.paper, circle(16, 24, 3.5), circle(104, 24, 3.5), circle(27, 87, 3), circle(93, 87, 3)
        )
        + paint(palette.wheel, ellipse(60, 53, 5.5, 30), circle(60, 23, 7))
    )


def butterfly_flying(palette: Palette) -> str:
    """Draw a butterfly fluttering past, seen aslant with its wings raised."""
    return (
        paint(palette.wheel, line("M30 50Q14 52 4 44M32 46Q22 38 22 28", 4))
        + solid(palette, area("M46 58Q22 34 30 6Q58 0 62 58Z"), colour=palette.dark)
        + solid(
            palette,
            area("M48 60Q56 12 98 3Q124 8 115 38Q100 62 56 66Z"),
            area("M56 66Q92 58 112 72Q116 96 90 97Q66 94 54 74Z"),
        )
        + paint(palette.light, ellipse(92, 26, 15, 9, -35))
        + paint(palette.dark, ellipse(90, 80, 10, 7, 15))
        + paint(palette.paper, circle(109, 18, 3.5), circle(102, 88, 3))
        + paint(palette.wheel, line("M38 54L66 80", 10), circle(34, 50, 8))
    )


def fish(palette: Palette) -> str:
    """Draw a fish swimming to the right."""
    return (
        solid(
            palette,
            area("M42 50Q24 18 3 12Q10 36 16 50Q10 64 3 88Q24 82 42 50Z"),
            area("M58 26Q72 0 106 4Q98 12 104 22Z"),
            area("M74 80Q76 96 100 97Q96 88 98 80Z"),
            colour=palette.dark,
        )
        + solid(palette, area("M32 50Q54 14 92 14Q128 18 138 50Q128 84 92 86Q54 86 32 50Z"))
        + paint(palette.light, area("M40 58Q62 84 92 84Q122 82 135 58Q108 74 84 72Q60 70 40 58Z"))
        + paint(
            palette.dark,
            line("M98 32Q88 50 98 68", 4),
            line("M54 42q7 8 0 16M68 34q7 8 0 16M70 52q7 8 0 16M82 42q7 8 0 16", 3.5),
        )
        + _eye(palette, 116, 42, 7)
        + paint(palette.ink, line("M124 60q6 -1 9 -4", 3))
    )


def fish_jumping(palette: Palette) -> str:
    """Draw a fish arched in mid leap over splashing drops."""
    return (
        paint(
            palette.water,
            ellipse(32, 93, 29, 5),
            circle(62, 84, 5),
            circle(76, 92, 4),
            circle(8, 54, 4.5),
            circle(16, 40, 3.5),
        )
        + solid(
            palette,
            area("M34 66Q16 54 3 62Q12 72 15 78Q11 88 18 96Q38 92 46 76Z"),
            area("M48 26Q60 2 98 3Q90 8 92 16Z"),
            colour=palette.dark,
        )
        + solid(
            palette,
            area("M32 68C36 24 70 4 100 12C128 20 142 50 137 75C128 86 112 82 102 74C84 62 60 64 46 80Z"),
        )
        + paint(
            palette.light,
            area(
                "M136 76C128 86 112 82 102 74C84 62 60 64 46 80L38 73C56 46 90 46 108 62C118 72 128 76 136 76Z"
            ),
        )
        + paint(
            palette.dark,
            line("M88 30Q92 48 112 54", 4),
            line("M46 44q9 1 11 10M58 32q9 1 11 10M72 24q8 2 10 10M62 48q8 0 10 8", 3.5),
            area("M94 60Q88 78 72 82Q72 66 82 56Z"),
        )
        + _eye(palette, 116, 44, 7)
        + paint(palette.ink, line("M126 68q4 1 8 -1", 3))
    )
