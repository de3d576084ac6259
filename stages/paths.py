"""Where the files that stages hand on live, relative to the repository root."""

from pathlib import Path

PARAMS = Path("params.yaml")
SCENES = Path("data/scenes")
COMPANIONS = Path("data/companions")
CACHES = Path("data/cache")
RUNS = Path("runs")
REPORT = Path("report")
STUDY = Path("study")


def cache_path(split: str) -> Path:
    """The activation cache of one dataset split."""
    return CACHES / f"{split}.zarr"
