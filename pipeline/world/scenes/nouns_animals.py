"""Animals on four legs: cat, dog and rabbit, each standing, sitting and running."""

from __future__ import annotations

from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.shapes import area, circle, ellipse, line, paint, solid


def _cat_head(palette: Palette, x: float, y: float) -> str:
    """Draw a round face with two pointed ears; 52 units wide, its ears 33 units above the centre."""
    return (
        solid(
            palette,
            area(f"M{x - 24} {y - 8}L{x - 22} {y - 33}L{x - 4} {y - 18}Z"),
            area(f"M{x + 24} {y - 8}L{x + 22} {y - 33}L{x + 4} {y - 18}Z"),
            ellipse(x, y, 26, 21),
        )
        + paint(
            palette.blush,
            area(f"M{x - 20} {y - 14}L{x - 19} {y - 26}L{x - 10} {y - 18}Z"),
            area(f"M{x + 20} {y - 14}L{x + 19} {y - 26}L{x + 10} {y - 18}Z"),
        )
        + paint(palette.dark, line(f"M{x} {y - 19}v6M{x - 8} {y - 17}v4M{x + 8} {y - 17}v4", 3.5))
        + paint(palette.light, ellipse(x, y + 10, 13, 9))
        + paint(
            palette.ink,
            ellipse(x - 11, y - 1, 3, 4),
            ellipse(x + 11, y - 1, 3, 4),
            area(f"M{x - 3.5} {y + 4}h7l-3.5 4Z"),
        )
        + paint(palette.ink, line(f"M{x - 5} {y + 11}q2.5 3 5 0q2.5 3 5 0", 1.8))
    )


def cat(palette: Palette) -> str:
    """Draw a cat standing, tail up."""
    return (
        solid(palette, line("M88 58Q106 54 102 32Q99 16 92 10", 10))
        + solid(palette, line("M34 78V92M78 78V92", 11), colour=palette.dark)
        + solid(
            palette,
            area("M26 56Q40 40 70 42Q96 44 97 66Q97 84 84 84H40Q26 82 26 56Z"),
            line("M46 76V92M90 70V92", 12),
        )
        + paint(palette.dark, line("M66 42V54M76 43V55M86 48V56", 4), line("M98 23L104 21M101 35H105", 4))
        + paint(palette.light, ellipse(62, 80, 18, 4))
        + _cat_head(palette, 28, 36)
    )


def cat_sitting(palette: Palette) -> str:
    """Draw a cat sitting upright, its tail curled round beside it."""
    return (
        solid(palette, line("M66 90Q98 96 101 74Q102 58 90 58", 11))
        + solid(palette, area("M38 50Q66 48 74 74Q80 96 64 97H16Q2 96 6 78Q12 52 38 50Z"))
        + paint(palette.light, ellipse(39, 74, 13, 18))
        + solid(palette, line("M32 74V92M46 74V92", 9))
        + paint(
            palette.dark,
            line("M8 80Q14 76 19 78M71 78Q64 74 60 76M73 88Q66 85 62 86", 4),
            line("M96 84L105 86M98 70L106 68", 4),
        )
        + _cat_head(palette, 38, 36)
    )


def cat_running(palette: Palette) -> str:
    """Draw a cat at full stretch, legs flung out and tail streaming."""
    return (
        solid(palette, line("M84 48Q98 42 102 20", 10))
        + solid(palette, line("M42 68L22 92M80 62L86 92", 11), colour=palette.dark)
        + solid(
            palette,
            area("M26 50Q44 36 70 38Q96 40 96 60Q94 76 76 76Q54 72 40 76Q24 74 26 50Z"),
            line("M34 64L8 80M88 58L101 82", 12),
        )
        + paint(palette.dark, line("M64 38V50M74 39V51M84 43V52", 4))
        + paint(palette.light, ellipse(58, 70, 16, 4))
        + _cat_head(palette, 29, 36)
    )


def _dog_head(palette: Palette, x: float, y: float, ear: str) -> str:
    """Draw a head in profile looking left, 21 units above and 31 left of its centre; `ear` is path data at the head."""
    return (
        solid(
            palette,
            ellipse(x, y, 21, 20),
            area(
                f"M{x} {y - 8}L{x - 22} {y - 2}Q{x - 30} {y} {x - 30} {y + 8}"
                f"Q{x - 30} {y + 17} {x - 18} {y + 17}L{x} {y + 19}Z"
            ),
        )
        + paint(
            palette.light,
            area(
                f"M{x - 16} {y + 4}Q{x - 28} {y + 2} {x - 29} {y + 9}"
                f"Q{x - 28} {y + 16} {x - 18} {y + 16}Q{x - 8} {y + 15} {x - 16} {y + 4}Z"
            ),
        )
        + paint(
            palette.ink,
            ellipse(x - 27, y + 2, 5, 4.5),
            ellipse(x - 9, y - 4, 3.2, 4),
            line(f"M{x - 26} {y + 12}q6 3 12 -1", 2),
        )
        + solid(palette, area(ear), colour=palette.dark)
    )


def dog(palette: Palette) -> str:
    """Draw a dog standing, tail wagging."""
    return (
        solid(palette, line("M90 50Q104 44 103 28", 9))
        + solid(palette, line("M46 74V92M78 74V92", 12), colour=palette.dark)
        + solid(
            palette,
            area("M30 40Q60 46 80 42Q98 44 98 62Q98 76 86 76H46Q32 74 30 40Z"),
            line("M38 66V91.5M90 64V91.5", 13),
        )
        + paint(palette.dark, ellipse(76, 52, 12, 8))
        + paint(palette.light, ellipse(62, 73, 14, 4))
        + paint(palette.paper, line("M30 46Q42 54 54 42", 5))
        + _dog_head(palette, 35, 24, "M42 8Q58 8 60 30Q58 48 48 44Q38 32 42 8Z")
    )


def dog_sitting(palette: Palette) -> str:
    """Draw a dog sitting, front legs straight."""
    return (
        solid(palette, line("M86 88Q102 88 103 72", 9))
        + solid(
            palette, area("M30 38Q58 36 72 56Q92 70 92 86Q92 97 80 97H40Q32 80 30 38Z"), line("M40 60V90", 13)
        )
        + paint(palette.light, ellipse(38, 62, 6, 14))
        + solid(palette, area("M56 96Q52 74 72 72Q90 76 90 88Q90 97 80 97Z"))
        + solid(palette, line("M54 92H66", 9), line("M32 92H40", 9))
        + paint(palette.dark, ellipse(70, 60, 8, 6, 45))
        + paint(palette.paper, line("M30 46Q42 54 54 42", 5))
        + _dog_head(palette, 35, 24, "M42 8Q58 8 60 30Q58 48 48 44Q38 32 42 8Z")
    )


def dog_running(palette: Palette) -> str:
    """Draw a dog bounding along, ear and tail flying."""
    return (
        solid(palette, line("M88 52Q100 44 104 26", 9))
        + solid(palette, line("M46 68L28 91M80 64L84 91.5", 12), colour=palette.dark)
        + solid(
            palette,
            area("M32 40Q60 44 80 42Q98 46 98 60Q96 74 82 74Q60 70 46 76Q32 72 32 40Z"),
            line("M40 64L12 77M90 58L101 81", 13),
        )
        + paint(palette.dark, ellipse(76, 52, 12, 8))
        + paint(palette.paper, line("M32 46Q44 54 54 42", 5))
        + _dog_head(palette, 35, 24, "M40 10Q60 2 74 14Q78 26 64 28Q46 28 40 10Z")
    )


def _rabbit_head(palette: Palette, x: float, y: float) -> str:
    """Draw a round face looking left."""
    return (
        solid(palette, ellipse(x, y, 20, 17))
        + paint(palette.light, ellipse(x - 10, y + 8, 9, 6))
        + paint(palette.ink, ellipse(x - 5, y - 2, 3, 3.8), ellipse(x - 17, y + 3, 3, 2.4))
        + paint(palette.blush, ellipse(x + 4, y + 6, 4.5, 3))
    )


def rabbit(palette: Palette) -> str:
    """Draw a rabbit crouching on all fours, ears up."""
    return (
        solid(palette, circle(79, 74, 9), colour=palette.paper)
        + solid(palette, ellipse(26, 22, 7, 20, -10), colour=palette.dark)
        + solid(palette, ellipse(48, 70, 31, 25), line("M24 84V92H16", 10), line("M44 92H70", 10))
        + solid(palette, ellipse(38, 23, 8, 21, 10))
        + paint(palette.blush, ellipse(39, 25, 3.5, 14, 10))
        + paint(palette.dark, line("M48 84Q46 64 66 62", 3.5))
        + paint(palette.light, ellipse(26, 78, 8, 8))
        + _rabbit_head(palette, 24, 50)
    )


def rabbit_sitting(palette: Palette) -> str:
    """Draw a rabbit sitting up on its haunches, paws before it."""
    return (
        solid(palette, circle(78, 82, 8), colour=palette.paper)
        + solid(palette, ellipse(34, 21, 6, 18, -10), colour=palette.dark)
        + solid(palette, ellipse(48, 21, 7, 18, 10))
        + paint(palette.blush, ellipse(48, 22, 3, 12, 10))
        + solid(palette, ellipse(48, 74, 28, 23), line("M9 92H60", 10))
        + paint(palette.light, ellipse(36, 70, 12, 15))
        + solid(palette, line("M40 64L26 66", 9))
        + _rabbit_head(palette, 36, 44)
    )


def rabbit_running(palette: Palette) -> str:
    """Draw a rabbit in mid leap, ears blown back."""
    return (
        solid(palette, circle(76, 66, 8), colour=palette.paper)
        + solid(palette, ellipse(52, 14, 7, 21, 60), colour=palette.dark)
        + solid(palette, ellipse(54, 26, 7.5, 22, 72))
        + paint(palette.blush, ellipse(56, 26, 3, 14, 72))
        + solid(
            palette,
            ellipse(50, 60, 30, 19, 24),
            line("M28 62L8 76", 10),
            line("M36 70L22 86", 10),
            line("M64 76L80 92", 11),
            line("M54 78L62 92", 10),
        )
        + paint(palette.light, ellipse(40, 70, 12, 5, 24))
        + _rabbit_head(palette, 24, 40)
    )
