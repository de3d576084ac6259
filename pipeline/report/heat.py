"""Heat maps in one colour scale, as tiny images that pages lay over pictures."""

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

SCALE = (
    "#000004", "#040312", "#0b0724", "#150b37", "#210c4a", "#2f0a5b", "#3d0965", "#4a0c6b", "#57106e", "#64156e",
    "#71196e", "#7d1e6d", "#8a226a", "#972766", "#a32c61", "#b0315b", "#bc3754", "#c73e4c", "#d24644", "#db503b",
    "#e45a31", "#eb6628", "#f1731d", "#f68013", "#f98e09", "#fb9d07", "#fcac11", "#fbbc21", "#f9cb35", "#f5db4c",
    "#f2ea69", "#f3f68a", "#fcffa4",
)  # fmt: skip
"""Matplotlib's "inferno" at 33 even steps: perceptually uniform, so equal steps of heat look equally far apart, also in
grey and to colour-blind eyes. Written out, because importing matplotlib takes longer than drawing the maps."""

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVW"
"""One character per step of the scale, for heat maps that a page's script paints."""


OPACITY = 0.62
"""Of a heat map over its picture, here and in the pages' style sheet."""


def levels(heat: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """The step of `SCALE` of each value: 0 at or below 0, the last one at or above 1, evenly spaced between."""
    steps: UInt8[np.ndarray, "..."] = np.round(np.clip(heat, 0, 1) * (len(SCALE) - 1)).astype(np.uint8)
    return steps


def heat_image(heat: Float[np.ndarray, "row column"]) -> str:
    """A heat map as a `data:` URI of a PNG with one pixel per patch; browsers smooth it when they stretch it."""
    used, steps = np.unique(levels(heat), return_inverse=True)  # only their colours: most maps have few
    image = Image.fromarray(steps.reshape(heat.shape).astype(np.uint8), "P")
    image.putpalette(bytes.fromhex("".join(SCALE[step][1:] for step in used)))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def overlay(picture: Image.Image, heat: Float[np.ndarray, "row column"]) -> Image.Image:
    """A heat map over a picture that has lost its colours, RGB, as the pages' style sheet lays it."""
    colours = np.array([tuple(bytes.fromhex(colour[1:])) for colour in SCALE], np.uint8)[levels(heat)]
    smooth = Image.fromarray(colours).resize(picture.size, Image.Resampling.BILINEAR)
    return Image.blend(picture.convert("L").convert("RGB"), smooth, OPACITY)


def heat_text(heat: Float[np.ndarray, "patch"]) -> str:
    """A heat map as one of `DIGITS` per patch, in the order of the patches."""
    return "".join(DIGITS[step] for step in levels(heat))
