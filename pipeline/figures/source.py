"""What a figure is drawn from: a trained run, its latents, and the pictures and activations of one split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from cache import ActivationCache
from pipeline.datasets.geometry import resize_mode_of
from pipeline.datasets.sample_pictures import read_sample_picture
from pipeline.errors import ConfigError
from pipeline.interpretation.interpreted_run import InterpretedRun, open_interpreted_run, ranking_of
from pipeline.interpretation.latent import Latent, specimens
from pipeline.interpretation.sightings import Ranking, Sighting, SplitSightings, rows_of_pairs
from pipeline.report.pictures import as_seen

SEARCHED_IMAGES = 2000
"""Images of a split that was not interpreted that are searched for the strongest ones, evenly spaced."""

PICTURE_PIXELS = 512


@dataclass(frozen=True)
class FigureSource:
    """A run and one split.

    Attributes:
        run: the run's folder.
        cache: activations of the split.
        dataset_root: the folder that the samples' files are relative to.
    """

    run: Path
    cache: ActivationCache
    dataset_root: Path

    @cached_property
    def sightings(self) -> SplitSightings:
        """Where the run's latents fire in the split."""
        return SplitSightings(self.cache, self._interpreted.sae)

    @cached_property
    def _interpreted(self) -> InterpretedRun:
        return open_interpreted_run(self.run)

    @cached_property
    def latents(self) -> dict[int, Latent]:
        """Every latent of `latents.parquet` that fires, by number.

        Raises:
            RunError: the run was not interpreted.
        """
        return self._interpreted.latents()

    def choose_latents(self, wanted: Sequence[str], count: int) -> list[Latent]:
        """The latents asked for by number or name; without any, `count` named ones of as many kinds as there are.

        Of several with the same name the one with most hits is meant.

        Raises:
            ConfigError: there is no such latent, or none has a name and none was asked for.
        """
        if wanted:
            return [self._latent(one) for one in wanted]
        named = [latent for latent in self.latents.values() if latent.row["named"]]
        if not named:
            raise ConfigError(f"{self.run}: none of its latents has a name; choose some by number")
        return specimens(sorted(named, key=lambda latent: -latent.row["hits"]), count)

    def choose_pairs(self, wanted: Sequence[str], latents: Sequence[Latent], count: int) -> list[int]:
        """The pairs asked for by number or file; without any, `count` of different images that these latents fire in.

        Raises:
            ConfigError: the split has no such pair or file, or the latents fire in none of its pictures.
        """
        if wanted:
            return [self._pair(one) for one in wanted]
        rankings = self.rankings([latent.number for latent in latents], count)
        turns = [ranks[turn][0] for turn in range(count) for ranks in rankings.values() if turn < len(ranks)]
        chosen = list(dict.fromkeys(turns))[:count]
        if not chosen:
            raise ConfigError(f"{self.run}: these latents fire in no picture of {self._split}; choose others")
        return chosen

    def rankings(self, latents: Sequence[int], count: int) -> dict[int, Ranking]:
        """The pairs whose images fire each latent most, as `interpret` found them; in another split by a search."""
        if self._interpreted.describes(self.cache):
            return {latent: ranking_of(self.latents[latent].row, count) for latent in latents}
        top = self.sightings.search(count, SEARCHED_IMAGES)
        return {latent: self.sightings.ranking(top, latent) for latent in latents}

    def strongest(self, latent: int, count: int) -> list[Sighting]:
        """The pictures that fire a latent most, strongest first."""
        return self.sightings.collect(self.rankings([latent], count))[latent]

    def heat_maps(
        self, latents: Sequence[int], pairs: Sequence[int]
    ) -> list[list[Float[np.ndarray, "row column"]]]:
        """Of each latent, its activation in the patches of each pair's image, as a share of its largest one here.

        Raises:
            ConfigError: the dictionary reads whole pictures.
        """
        if self.sightings.whole:
            raise ConfigError(
                f"{self.run}: reads whole pictures and knows no places; choose a variant that reads patches"
            )
        found = self.sightings.heat_maps(dict.fromkeys(latents, pairs))
        scaled = []
        for latent in latents:
            largest = max(float(found[latent][pair].max()) for pair in pairs) or 1.0
            scaled.append([found[latent][pair] / largest for pair in pairs])
        return scaled

    def pictures(self, pairs: Sequence[int]) -> list[Image.Image]:
        """The images of these pairs, as the backbone sees them.

        Raises:
            DatasetError: a picture cannot be read.
        """
        rows = rows_of_pairs(self.cache, set(pairs))
        return [self.picture(rows[pair]) for pair in pairs]

    def picture(self, row: Mapping[str, Any]) -> Image.Image:
        """The image of one row of the samples, as the backbone sees it.

        Raises:
            DatasetError: the picture cannot be read.
        """
        picture = read_sample_picture(self.dataset_root, row["file"], (row["width"], row["height"]))
        return as_seen(picture, self.cache.manifest.grid, resize_mode_of(self.cache), PICTURE_PIXELS)

    @property
    def _split(self) -> str:
        return f"the split {self.cache.manifest.dataset['split']}"

    def _latent(self, wanted: str) -> Latent:
        if wanted.isdecimal():
            if int(wanted) in self.latents:
                return self.latents[int(wanted)]
            width = self._interpreted.table.num_rows
            why = "never fires" if int(wanted) < width else f"does not exist; there are 0 to {width - 1}"
            raise ConfigError(f"latent {wanted}: this latent of {self.run} {why}")
        named = [latent for latent in self.latents.values() if latent.row["named"] and latent.title == wanted]
        if not named:
            names = sorted({latent.title for latent in self.latents.values() if latent.row["named"]})
            known = (
                f"names are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
                if names
                else "none has a name"
            )
            raise ConfigError(f"latent {wanted}: no latent of {self.run} is so named; {known}")
        return max(named, key=lambda latent: latent.row["hits"])

    def _pair(self, wanted: str) -> int:
        if wanted.isdecimal():
            if int(wanted) < self.cache.pairs:
                return int(wanted)
            raise ConfigError(f"image {wanted}: {self._split} has the pairs 0 to {self.cache.pairs - 1}")
        for pair, file in enumerate(self.cache.read_pair_samples(["file"])["file"].to_pylist()):
            if wanted in {file, Path(file).name}:
                return pair
        raise ConfigError(
            f"image {wanted}: no pair of {self._split} has this file; name a file or a pair's number"
        )
