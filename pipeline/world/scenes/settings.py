"""The six backgrounds, 400 x 400 units each: pale and quiet, so that things of any colour stand out on them.

Every function takes the random numbers that vary its clouds, hills and small details, and nothing else, so the
same generator state always gives the same picture. Washes of colour are stacks of thin bands rather than
gradients: neighbouring bands differ by less than the eye can see, and they render ten times faster.
"""

from __future__ import annotations

import random

CANVAS = 400
"""Side of a setting in units."""


def _wash(top: str, bottom: str, start: float, end: float) -> str:
    """Draw full-width bands from colour `top` at height `start` to colour `bottom` at height `end`.

    Each band reaches 4 units under the next, so that no seam shows where a band ends within a pixel.
    """
    first, last = (tuple(int(css[k : k + 2], 16) for k in (1, 3, 5)) for css in (top, bottom))
    bands = max(abs(a - b) for a, b in zip(first, last, strict=True))
    height = (end - start) / bands
    parts = []
    for k in range(bands):
        share = k / (bands - 1)
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
        y = round(start + k * height)
        parts.append(
            f'<rect y="{y}" width="400" height="{round(start + (k + 1) * height) - y + 4}" '
            f'fill="#{red:02x}{green:02x}{blue:02x}"/>'
        )
    return "".join(parts)


def _fill(path: str, colour: str) -> str:
    return f'<path d="{path}" fill="{colour}"/>'


def _stroke(path: str, colour: str, width: float) -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linecap="round"/>'


def _dots(points: list[tuple[float, float, float]]) -> str:
    """Give the path data of small discs (x, y, radius)."""
    return "".join(
        f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 1 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 1 {-2 * r:.1f} 0Z"
        for x, y, r in points
    )


def _clouds(rng: random.Random, colour: str, count: int, lowest: float) -> str:
    """Draw soft flat-bottomed clouds spread over the upper sky."""
    path = ""
    for k in range(count):
        x = (k + rng.uniform(0.15, 0.85)) * CANVAS / count
        y = rng.uniform(36, lowest)
        w = rng.uniform(0.8, 1.25)
        path += (
            f"M{x - 44 * w:.1f} {y:.1f}q{-12 * w:.1f} 0 {-12 * w:.1f} {-9 * w:.1f}"
            f"q0 {-10 * w:.1f} {15 * w:.1f} {-10 * w:.1f}q{4 * w:.1f} {-17 * w:.1f} {24 * w:.1f} {-15 * w:.1f}"
            f"q{16 * w:.1f} {-10 * w:.1f} {30 * w:.1f} {6 * w:.1f}q{22 * w:.1f} {-4 * w:.1f} {24 * w:.1f} {13 * w:.1f}"
            f"q{14 * w:.1f} 0 {14 * w:.1f} {8 * w:.1f}q0 {7 * w:.1f} {-12 * w:.1f} {7 * w:.1f}Z"
        )
    return _fill(path, colour)


def _hills(rng: random.Random, y: float, swell: float, bottom: float) -> str:
    """Draw a rolling skyline around height `y`, filled down to `bottom`."""
    a, b, c, d = (y + rng.uniform(-swell, swell) for _ in range(4))
    m = rng.uniform(150, 250)
    return (
        f"M0 {a:.1f}C{m * 0.4:.1f} {a - swell:.1f} {m * 0.7:.1f} {b - swell:.1f} {m:.1f} {b:.1f}"
        f"S330 {c + swell * 0.5:.1f} 400 {d:.1f}V{bottom:g}H0Z"
    )


def _tufts(rng: random.Random, count: int, top: float) -> str:
    """Give the path data of three-bladed tufts of grass between height `top` and the bottom edge."""
    path = ""
    for _ in range(count):
        x, y = rng.uniform(5, 395), rng.uniform(top, 394)
        path += f"M{x:.1f} {y:.1f}q-2 -7 -6 -9M{x:.1f} {y:.1f}v-12M{x:.1f} {y:.1f}q2 -7 6 -9"
    return path


def meadow(rng: random.Random) -> str:
    """Draw rolling hills under a mild sky, tufts of grass and specks of blossom."""
    specks = [(rng.uniform(5, 395), rng.uniform(280, 394), rng.uniform(1.5, 2.4)) for _ in range(20)]
    return (
        _wash("#c8e3ef", "#f8f4e0", 0, 240)
        + _fill("M0 240H400V270H0Z", "#f8f4e0")
        + _clouds(rng, "#fdfcf7", 3, 120)
        + _fill(_hills(rng, 222, 16, 290), "#d9e6cd")
        + _fill(_hills(rng, 238, 14, 290), "#c9dfb8")
        + _fill(_hills(rng, 256, 9, 300), "#b9d6a3")
        + _wash("#b9d6a3", "#a6c98f", 280, 400)
        + _stroke(_tufts(rng, 14, 285), "#90b77c", 2)
        + _fill(_dots(specks), "#f9f5e2")
    )


def _shells(rng: random.Random, count: int) -> tuple[str, str]:
    """Give the path data of scallop shells on the sand: their bodies and their ribs."""
    bodies, ribs = "", ""
    for _ in range(count):
        x, y, s = rng.uniform(14, 386), rng.uniform(290, 388), rng.uniform(0.9, 1.4)
        bodies += (
            f"M{x:.1f} {y:.1f}q{-11 * s:.1f} {-4 * s:.1f} {-9 * s:.1f} {-11 * s:.1f}"
            f"q{9 * s:.1f} {-7 * s:.1f} {18 * s:.1f} 0q{2 * s:.1f} {7 * s:.1f} {-9 * s:.1f} {11 * s:.1f}Z"
        )
        for lean in (-5, 0, 5):
            ribs += f"M{x:.1f} {y - s:.1f}l{lean * s:.1f} {(abs(lean) * 0.2 - 11) * s:.1f}"
    return bodies, ribs


def beach(rng: random.Random) -> str:
    """Draw sand with shells beside a strip of calm sea."""
    grains = [(rng.uniform(0, 400), rng.uniform(266, 396), rng.uniform(0.8, 1.6)) for _ in range(30)]
    shells, ribs = _shells(rng, 5)
    d = rng.uniform(-6, 6)
    shore = f"M0 {238 + d:.1f}Q80 {226 - d:.1f} 170 {240 + d:.1f}T400 {236 - d:.1f}"
    glints = f"M{20 + d:.1f} 200h50M{120 - 2 * d:.1f} 211h60M240 {203 + d / 2:.1f}h46M{320 + d:.1f} 214h56M40 220h34"
    return (
        _wash("#cfeaf3", "#fef3dd", 0, 186)
        + _clouds(rng, "#fefdf8", 2, 100)
        + _wash("#a9d5dc", "#c3e2e2", 184, 250)
        + _stroke(glints, "#dcefee", 3)
        + _fill(shore + "V300H0Z", "#f8e9c8")
        + _stroke(shore, "#fdfcf6", 7)
        + _wash("#f8e9c8", "#ecd6a9", 262, 400)
        + _fill(_dots(grains), "#dfc797")
        + _fill(shells, "#f9e0d3")
        + _stroke(ribs, "#e3bdab", 1.3)
    )


def _waves(rng: random.Random, y: float, length: float, bottom: float) -> str:
    """Give the path data of a band of water with a wavy upper edge."""
    x = -rng.uniform(0, length)
    path = f"M{x:.1f} {y:.1f}"
    while x < CANVAS:
        path += f"q{length / 4:.1f} {-length / 9:.1f} {length / 2:.1f} 0t{length / 2:.1f} 0"
        x += length
    return path + f"V{bottom:g}H-200Z"


def sea(rng: random.Random) -> str:
    """Draw open water in layered waves under a hazy sky."""
    glints = ""
    for _ in range(12):
        x, y, w = rng.uniform(5, 360), rng.uniform(215, 390), rng.uniform(14, 26)
        glints += f"M{x:.1f} {y:.1f}q{w / 2:.1f} -5 {w:.1f} 0"
    return (
        _wash("#c4e0f0", "#f6f2e6", 0, 200)
        + _clouds(rng, "#fdfdfa", 3, 120)
        + _fill("M0 200H400V250H0Z", "#b7d9e2")
        + _fill(_waves(rng, 226, 100, 300), "#a8cfdb")
        + _fill(_waves(rng, 270, 130, 350), "#9ac7d6")
        + _fill(_waves(rng, 322, 160, 400), "#8dbdd0")
        + _stroke(glints, "#d5eaef", 2.5)
    )


def _skyline(
    rng: random.Random, lowest: float, highest: float
) -> tuple[str, list[tuple[float, float, float]]]:
    """Give the path data of far flat-roofed buildings, and the positions of their lit windows."""
    path, lights, x = "M0 300", [], 0.0
    while x < CANVAS:
        width, top = rng.uniform(20, 44), rng.uniform(highest, lowest)
        path += f"V{top:.1f}H{x + width:.1f}"
        lights += [(x + rng.uniform(5, width - 5), rng.uniform(top + 6, 272), 1.3) for _ in range(2)]
        x += width
    return path + "V300Z", lights


def night(rng: random.Random) -> str:
    """Draw a dusky sky with pin-prick stars, the glow of a far town, dark grass."""
    stars = [(rng.uniform(4, 396), rng.uniform(4, 190), rng.uniform(0.7, 1.7)) for _ in range(45)]
    far, _ = _skyline(rng, 240, 205)
    near, lights = _skyline(rng, 266, 232)
    return (
        _wash("#38457a", "#8d80aa", 0, 190)
        + _wash("#8d80aa", "#d3a9a8", 190, 270)
        + _fill(_dots(stars), "#ebe8f2")
        + _fill(far, "#9384a8")
        + _fill(near, "#776f9a")
        + _fill(_dots(lights), "#efdcae")
        + _fill(_hills(rng, 280, 7, 320), "#5d6789")
        + _wash("#5d6789", "#475075", 300, 400)
        + _stroke(_tufts(rng, 10, 305), "#6c769a", 2)
    )


def _houses(rng: random.Random) -> str:
    """Draw a terrace of pale houses from edge to edge."""
    tints = ["#f1e4d6", "#e8e4da", "#eedfdf", "#e0e7e5", "#f0e8cf"]
    walls, roofs, panes, doors, x, last = "", "", "", "", -rng.uniform(0, 40), -1
    while x < CANVAS:
        width, top = rng.uniform(52, 74), rng.uniform(148, 180)
        last = (last + rng.randrange(1, len(tints))) % len(tints)
        walls += _fill(f"M{x:.1f} {top:.1f}H{x + width:.1f}V264H{x:.1f}Z", tints[last])
        roofs += (
            f"M{x - 2:.1f} {top:.1f}L{x + width * 0.2:.1f} {top - 20:.1f}"
            f"H{x + width * 0.8:.1f}L{x + width + 2:.1f} {top:.1f}Z"
        )
        for row in (top + 14, top + 42):
            panes += "".join(f"M{x + width * f - 5:.1f} {row:.1f}h10v15h-10Z" for f in (0.25, 0.5, 0.75))
        doors += f"M{x + width * 0.5 - 6:.1f} 264v-18q0 -6 6 -6t6 6v18Z"
        x += width
    return walls + _fill(roofs, "#d9c9c1") + _fill(panes, "#d3dfe3") + _fill(doors, "#d6c8bd")


def street(rng: random.Random) -> str:
    """Draw a row of pale houses far back, a pavement with lamps, a road."""
    posts = [rng.uniform(40, 130), rng.uniform(250, 350)]
    lamps = "".join(f"M{at:.1f} 276V202q0 -9 9 -9h6" for at in posts)
    bulbs = [(at + 17, 198.0, 4.5) for at in posts]
    slabs = "".join(f"M{x} 264l{(x - 200) * 0.12:.0f} 28" for x in range(20, 400, 45))
    return (
        _wash("#d3e4ec", "#fcf1e2", 0, 180)
        + _fill("M0 180H400V270H0Z", "#fcf1e2")
        + _clouds(rng, "#fdfcf8", 2, 90)
        + _houses(rng)
        + _fill("M0 262H400V296H0Z", "#e6e1d9")
        + _stroke(slabs, "#d9d3ca", 1.5)
        + _stroke(lamps, "#bdbbbd", 4)
        + _fill(_dots(bulbs), "#faf0cf")
        + _fill("M0 292H400V300H0Z", "#cdc8c2")
        + _wash("#c3c2c7", "#b5b4bb", 299, 400)
        + _stroke("M10 352h44M94 352h44M178 352h44M262 352h44M346 352h44", "#eae7e0", 6)
    )


def _firs(rng: random.Random, count: int, y: float, scale: float) -> str:
    """Give the path data of far fir trees standing around height `y`."""
    path = ""
    for _ in range(count):
        x, s = rng.uniform(5, 395), scale * rng.uniform(0.8, 1.2)
        path += (
            f"M{x:.1f} {y + rng.uniform(-5, 5) - 56 * s:.1f}l{11 * s:.1f} {20 * s:.1f}h{-5 * s:.1f}"
            f"l{9 * s:.1f} {18 * s:.1f}h{-5 * s:.1f}l{8 * s:.1f} {18 * s:.1f}h{-36 * s:.1f}l{8 * s:.1f} {-18 * s:.1f}"
            f"h{-5 * s:.1f}l{9 * s:.1f} {-18 * s:.1f}h{-5 * s:.1f}Z"
        )
    return path


def snow(rng: random.Random) -> str:
    """Draw snowy hills, faint firs far off, falling flakes."""
    flakes = [(rng.uniform(0, 400), rng.uniform(0, 400), rng.uniform(1.5, 3.4)) for _ in range(34)]
    return (
        _wash("#bccbdf", "#ecebf1", 0, 250)
        + _fill(_firs(rng, 8, 236, 0.7), "#d0d9e4")
        + _fill(_hills(rng, 228, 10, 290), "#dfe6ef")
        + _fill(_firs(rng, 6, 250, 1.0), "#c1cedb")
        + _fill(_hills(rng, 256, 8, 310), "#f0f3f8")
        + _wash("#f0f3f8", "#dbe4ef", 285, 400)
        + _fill(_dots(flakes), "#fcfdff")
    )
