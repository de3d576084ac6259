"""The colours an object is painted with: its named colour, two shades of the same hue, and quiet neutrals.

Every drawing in this package is written in terms of these *roles*, never of literal colours. A picture uses
`Palette.of("purple")`; a mask uses `Palette.flat("#000102")`, in which every role is the same colour, so that the
very same drawing becomes its own silhouette.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType


@dataclass(frozen=True)
class Palette:
    """One CSS colour per role. Neutral roles are small details and never compete with `main`."""

    main: str
    """The object's named colour; it dominates the drawing."""
    light: str
    """A highlight of the same hue."""
    dark: str
    """A shade of the same hue."""
    outline: str
    """The thin line around the object that keeps it apart from any background."""
    ink: str
    """Eyes, noses and other features drawn on `main`."""
    paper: str
    """Windows, spots, bellies: a warm white."""
    blush: str
    """Cheeks and inner ears."""
    metal: str = "#a9adb8"
    """Spokes, bumpers, hubs: a cool grey."""
    wheel: str = "#4a4753"
    """Tyres and soles: a soft charcoal."""
    stem: str = "#93877b"
    """Trunks, masts, handles and strings: a taupe too grey to be called brown."""
    leaf: str = "#9aa588"
    """Leaves and stalks: a sage too grey to be called green."""
    water: str = "#d9ebf1"
    """Foam, drops and steam."""

    @classmethod
    def of(cls, colour: str) -> Palette:
        """Give the painting palette of a named colour; raises KeyError for a colour outside `PALETTES`."""
        return PALETTES[colour]

    @classmethod
    def flat(cls, css: str) -> Palette:
        """Give the palette in which every role is `css`: whatever is drawn with it is a one-coloured silhouette."""
        return cls(**{role.name: css for role in fields(cls)})


def _hue(main: str, light: str, dark: str, outline: str) -> Palette:
    return Palette(main, light, dark, outline, ink="#3d3544", paper="#fff9ec", blush="#f6b3a8")


PALETTES: Mapping[str, Palette] = MappingProxyType(
    {
        "red": _hue("#df4238", "#f0786b", "#b52a2c", "#7f1c22"),
        "orange": _hue("#f58a1f", "#fdb25f", "#d0660c", "#94470a"),
        "yellow": _hue("#f9d02f", "#fde680", "#dba516", "#96700f"),
        "green": _hue("#47a54c", "#82ca7c", "#2c7b3b", "#1c5229"),
        "blue": _hue("#3678d8", "#78aaf0", "#2457a9", "#183a75"),
        "purple": _hue("#8b4fc4", "#b587e2", "#663495", "#432065"),
        "pink": _hue("#f582b2", "#fcb6d2", "#d95a90", "#9b3562"),
        "brown": _hue("#8a5430", "#b98558", "#6b3d1c", "#40220d"),
        "black": Palette(
            "#2b2b33", "#50505c", "#18181d", "#9a9ba9", ink="#e9e4da", paper="#e9e4da", blush="#a88f95"
        ),
        "white": Palette(
            "#fdfcf9", "#ffffff", "#dcdde4", "#767c91", ink="#4b4655", paper="#d9dde7", blush="#f5c4bd"
        ),
    }
)
"""The ten colours of the embedded world."""
