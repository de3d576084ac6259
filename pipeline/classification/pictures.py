"""A picture of known class, wherever it comes from."""

import hashlib
from typing import NamedTuple

from PIL import Image


class LabelledPicture(NamedTuple):
    """A decoded picture and what it shows.

    Attributes:
        name: what messages call it.
        label: number of its class.
        image: RGB.
    """

    name: str
    label: int
    image: Image.Image

    def digest(self) -> str:
        """SHA-256 of size and pixels: two pictures with the same one are the same, whatever their files are."""
        return hashlib.sha256(repr(self.image.size).encode() + self.image.tobytes()).hexdigest()
