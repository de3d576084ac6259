"""The two sides of a pair."""

from typing import Literal

Side = Literal["vision", "text"]
SIDES: tuple[Side, Side] = ("vision", "text")


def other_side(side: Side) -> Side:
    """Name the side across: "text" for "vision", "vision" for "text"."""
    return "text" if side == "vision" else "vision"
