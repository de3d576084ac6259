"""Where the files that stages hand on live, relative to the repository root."""

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.names import checked_name

PARAMS = Path("params.yaml")
SCENES = Path("data/scenes")
COMPANIONS = Path("data/companions")
CACHES = Path("data/cache")
RUNS = Path("runs")
REPORT = Path("report")
STUDY = Path("study")
STUDY_PARAMS = STUDY / "params.yaml"
STUDY_RUNS = STUDY / "runs"
STUDY_MEASURED = STUDY / "measured"
CEILING = STUDY / "ceiling.json"
SAME_SIDE = STUDY / "same_side.json"

TRAINING_SPLIT = "train"
"""The split whose activations runs are trained on."""

MEASURED_SPLIT = "val"
"""The split whose activations runs are interpreted and measured on."""


def cache_path(split: str) -> Path:
    """The activation cache of one dataset split."""
    return CACHES / f"{split}.zarr"


def run_folder(variant: str) -> Path:
    """Where the run of a variant is.

    Raises:
        ConfigError: this cannot be a variant's name, such as `..`; it would lead elsewhere.
    """
    try:
        return RUNS / checked_name(variant)
    except ValueError as error:
        raise ConfigError(f"variant: {error}; --run takes any folder") from None
