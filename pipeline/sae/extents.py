"""How large the tensors of a training step are, where that differs from step to step."""

from typing import NamedTuple

_ROWS = 512
_FEWEST_PLACES = 16
_FEWEST_DEAD = 64


class Extents(NamedTuple):
    """Upper bounds of all sizes that a step depends on besides the options.

    With them given, no size depends on what the tensors hold, so that a GPU works through a whole step without being
    asked anything, and one recording of it serves all batches of the same extents.
    """

    text_rows: int
    """Packed rows of text, those that no caption has included."""
    longest_caption: int
    """Places of a caption when it is padded; at least 1."""
    dead: tuple[int, int] = (0, 0)
    """Most latents that can be dead in this step, of vision and of text."""

    def rounded_up(self) -> "Extents":
        """To one of few: rows to the next 512, captions to a power of two from 16, dead latents to one from 64."""
        vision, text = (_power_of_two(count, _FEWEST_DEAD) if count else 0 for count in self.dead)
        return Extents(
            -(-self.text_rows // _ROWS) * _ROWS,
            _power_of_two(self.longest_caption, _FEWEST_PLACES),
            (vision, text),
        )


def _power_of_two(size: int, least: int) -> int:
    """The smallest power of two that is not below either."""
    return max(least, 1 << (size - 1).bit_length())
