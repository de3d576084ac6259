"""What the pages show of a latent in a picture: the image file, the heat map over it, the peak patch and its crop."""

from dataclasses import dataclass

from cache import ActivationCache
from pipeline.datasets.geometry import resize_mode_of
from pipeline.interpretation.sightings import Sighting, Window, crop_around
from pipeline.report.heat import heat_image
from pipeline.report.pictures import Picture, PictureShelf


@dataclass(frozen=True)
class Peak:
    """The patch at which a latent peaks.

    Attributes:
        row, column: its place in the grid.
        crop: the patches around it that are shown closer.
        aspect: width by height of that crop in the picture's pixels.
    """

    row: int
    column: int
    crop: Window
    aspect: float


@dataclass(frozen=True)
class Evidence:
    """One picture on which a latent fires.

    Attributes:
        picture: the image file.
        activation: the latent's largest value in it.
        caption: the pair's caption.
        heat: the heat map as a `data:` URI; None where a dictionary reads whole pictures.
        peak: the strongest patch; None like `heat`.
    """

    picture: Picture
    activation: float
    caption: str
    heat: str | None
    peak: Peak | None


def show(sighting: Sighting, split: str, cache: ActivationCache, shelf: PictureShelf) -> Evidence:
    """Put a sighting's picture on the shelf and draw its heat map.

    Raises:
        DatasetError: the picture cannot be read any more.
    """
    row, grid = sighting.row, cache.manifest.grid
    size = (row["width"], row["height"])
    picture = shelf.place(split, row["file"], size, grid, resize_mode_of(cache))
    if sighting.patch is None or sighting.heat is None:
        return Evidence(picture, sighting.activation, row["caption"], None, None)
    heat, peak = heat_image(sighting.heat), peak_at(sighting.patch, grid, picture)
    return Evidence(picture, sighting.activation, row["caption"], heat, peak)


def peak_at(patch: int, grid: tuple[int, int], picture: Picture) -> Peak:
    """A patch, counted along rows of the grid, with the crop of the picture around it."""
    row, column = divmod(patch, grid[1])
    crop = crop_around(row, column, grid)
    width, height = picture.width * crop.columns / grid[1], picture.height * crop.rows / grid[0]
    return Peak(row, column, crop, round(width / height, 4))
