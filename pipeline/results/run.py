"""What the report reads of a trained run: its metrics, its training curves and how it was trained."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RunError, os_error_reason
from pipeline.runs.config import CONFIG_FILE, RETRAIN, check_curves
from pipeline.runs.metrics import METRICS_FILE, read_metrics
from pipeline.runs.seal import read_sealed
from pipeline.runs.stability import read_stability

Series = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Run:
    """One run folder; a missing part is empty, and the report says so.

    Attributes:
        name: the folder's name, which is the variant's.
        folder: where it is.
        metrics: figures of `metrics.json`, and of `stability.json` below "stability", by dotted key.
        curves: (step, value) points by term of the loss, as DVCLive logged them.
        not_defined: why a figure does not exist for this variant, by the dotted key (or its start) that it lacks.
        naming: the group `interpretation` of `metrics.json`: names held against the truth; empty where it is not there.
        train: the options of its training, as `config.json` states them; empty where it does not.
    """

    name: str
    folder: Path
    metrics: Mapping[str, float]
    curves: Mapping[str, Series]
    not_defined: Mapping[str, str] = field(default_factory=dict)
    naming: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


def read_run(folder: Path) -> Run:
    """Read a run folder, which may lack any of its files.

    Raises:
        RunError: `metrics.json`, `config.json` or a curve is there but cannot be read, is damaged, or is of another
            training than the dictionary.
    """
    metrics = read_metrics(folder) if os.path.lexists(folder / METRICS_FILE) else {}
    check_curves(folder)
    reasons = metrics.get("not_defined")
    not_defined = {key: str(why) for key, why in reasons.items()} if isinstance(reasons, dict) else {}
    named = metrics.get("interpretation")
    naming = named if isinstance(named, dict) else {}
    config = folder / CONFIG_FILE
    train = _train_options(read_sealed(config, RETRAIN) if config.exists() else {})
    stability = read_stability(folder)
    figures = flatten(metrics) | (flatten({"stability": stability.figures}) if stability else {})
    return Run(folder.name, folder, figures, _read_curves(folder), not_defined, naming, train)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a nested mapping by dotted key, in its order; what is not a number is left out."""
    flat: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = value
    return flat


def _train_options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    training = config.get("training")
    options = training.get("train") if isinstance(training, dict) else None
    return options if isinstance(options, dict) else {}


def _read_curves(folder: Path) -> dict[str, Series]:
    metrics = folder / "curves" / "plots" / "metrics"
    return {
        path.relative_to(metrics).with_suffix("").as_posix(): _read_series(path)
        for path in sorted(metrics.rglob("*.tsv"))
    }


def _read_series(path: Path) -> Series:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return tuple((float(row["step"]), float(row[path.stem])) for row in rows)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {os_error_reason(error)}") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise RunError(
            f"{path}: not a curve of DVCLive (columns step and {path.stem}); train again"
        ) from None
