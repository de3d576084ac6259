"""A scene as pixels: the picture, and for every object the mask of what can be seen of it."""

import io
import random
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import resvg_py
from jaxtyping import Bool, UInt8
from PIL import Image

from pipeline.world.scenes.art import HORIZON, NOUN_ART, SETTING_ART
from pipeline.world.scenes.layout import airborne
from pipeline.world.scenes.palette import Palette
from pipeline.world.scenes.scene import Place, Scene, Thing

CANVAS = 400
"""Side of the drawing in SVG units."""

PAPER = "#f6f3ea"
"""What shows wherever a setting's scenery leaves a gap."""

_Rendering = Literal["geometric_precision", "crisp_edges"]


class RenderedScene(NamedTuple):
    """A square picture and its objects, in the order of `instances`.

    `boxes` are (x, y, width, height) in pixels, tight around the visible pixels of the masks.
    """

    image: UInt8[np.ndarray, "height width 3"]
    masks: Bool[np.ndarray, "object height width"]
    boxes: tuple[tuple[int, int, int, int], ...]
    instances: tuple[tuple[Thing, Place], ...]


def render(scene: Scene, size: int) -> RenderedScene:
    """Draw the scene at `size` x `size` pixels; the same scene always gives the same pixels."""
    instances = tuple(scene.instances())
    backdrop = _backdrop(scene.setting, scene.backdrop, size)
    image = Image.alpha_composite(backdrop, _rasterise(_objects(scene), size, "geometric_precision"))
    labels = np.asarray(_rasterise(_silhouettes(scene), size, "crisp_edges"))[..., 0]
    masks = labels == np.arange(1, len(instances) + 1, dtype=np.uint8)[:, None, None]
    return RenderedScene(
        np.asarray(image.convert("RGB")), masks, tuple(_tight_box(mask) for mask in masks), instances
    )


@cache
def _backdrop(setting: str, number: int, size: int) -> Image.Image:
    """Draw the scenery, kept: it takes longer to draw than what stands in it."""
    scenery = SETTING_ART[setting](random.Random(f"{setting}/{number}"))
    paper = f'<rect width="{CANVAS}" height="{CANVAS}" fill="{PAPER}"/>'
    return _rasterise(paper + scenery, size, "geometric_precision")


def _objects(scene: Scene) -> str:
    """Draw the objects' shadows, then the objects, on a transparent ground."""
    instances = scene.instances()
    setting = scene.setting
    shadows = [_shadow(setting, place) for thing, place in instances if _casts_shadow(setting, thing, place)]
    objects = [_placed(NOUN_ART[t.noun].draw(Palette.of(t.colour), t.action), p) for t, p in instances]
    return "".join((*shadows, *objects))


def _silhouettes(scene: Scene) -> str:
    """Draw every object in a flat colour whose red channel is its number, counted from 1."""
    objects = [
        _placed(NOUN_ART[thing.noun].draw(Palette.flat(f"#{number:02x}0000"), thing.action), place)
        for number, (thing, place) in enumerate(scene.instances(), start=1)
    ]
    return "".join(objects)


def _placed(art: str, place: Place) -> str:
    scale = place.height * CANVAS / 100
    left = (place.right if place.flip else place.x) * CANVAS
    across = -scale if place.flip else scale
    return f'<g transform="matrix({across:.4f} 0 0 {scale:.4f} {left:.2f} {place.y * CANVAS:.2f})">{art}</g>'


def _rasterise(elements: str, size: int, shape_rendering: _Rendering) -> Image.Image:
    png = resvg_py.svg_to_bytes(
        svg_string=f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CANVAS} {CANVAS}">{elements}</svg>',
        width=size,
        height=size,
        shape_rendering=shape_rendering,
        skip_system_fonts=True,
    )
    return Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGBA")


def _tight_box(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def _casts_shadow(setting: str, thing: Thing, place: Place) -> bool:
    return not airborne(thing) and place.bottom > HORIZON[setting]


def _shadow(setting: str, place: Place) -> str:
    """Draw a soft shadow under the object's foot, or a pale ripple around it at sea."""
    x, y = CANVAS * (place.x + place.width / 2), CANVAS * (place.bottom - 0.006)
    width, height = CANVAS * place.width / 2, CANVAS * place.width * 0.06 + 3
    colour, opacity = ("#ffffff", 0.35) if setting == "sea" else ("#1c2238", 0.16)
    return (
        f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{width:.1f}" ry="{height:.1f}" '
        f'fill="{colour}" fill-opacity="{opacity}"/>'
    )
