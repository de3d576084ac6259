"""Which pictures alpha is tuned on, and which are scored: never the same."""

from typing import NamedTuple

import numpy as np

from pipeline.classification.scoring import ScoredPictures
from pipeline.errors import ConfigError, DatasetError


class Split(NamedTuple):
    """Pictures to tune alpha on, and others to score."""

    tuning: ScoredPictures
    test: ScoredPictures


def refuse_overlap(split: Split) -> None:
    """Refuse to tune on what is scored.

    Raises:
        ConfigError: a picture, by its pixels, is in both parts.
    """
    scored = dict(zip(split.test.digests, split.test.names, strict=True))
    common = [
        name
        for name, digest in zip(split.tuning.names, split.tuning.digests, strict=True)
        if digest in scored
    ]
    if common:
        raise ConfigError(
            f"alpha must not be tuned on pictures that are scored: {len(common)} of the {len(split.tuning)} pictures "
            f"to tune on are also in the test split, such as {common[0]}; give folders without common pictures, or "
            "one folder to be split"
        )


def stratified_split(pictures: ScoredPictures, classes: list[str], tuning_share: float, seed: int) -> Split:
    """Part every class's pictures, the same ones for the same seed; at least one of a class is on either side.

    Raises:
        DatasetError: a class has a single picture.
    """
    rng = np.random.default_rng(seed)
    tuning = np.zeros(len(pictures), dtype=bool)
    for label, name in enumerate(classes):
        rows = np.flatnonzero(pictures.labels == label)
        if len(rows) < 2:
            raise DatasetError(
                f"class {name!r} has {len(rows)} usable picture{'s' * (len(rows) != 1)}, and a split takes two: one to "
                "tune on, one to score; add some, or give a folder of its own to tune on"
            )
        count = min(max(round(len(rows) * tuning_share), 1), len(rows) - 1)
        tuning[rng.permutation(rows)[:count]] = True
    return Split(pictures.select(np.flatnonzero(tuning)), pictures.select(np.flatnonzero(~tuning)))
