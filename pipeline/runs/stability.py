"""`stability.json` of a run: how much of its dictionary trainings from other seeds found again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.runs.model_file import model_seal
from pipeline.runs.seal import read_sealed, write_sealed

STABILITY_FILE = "stability.json"
_REMEDY = "run `concord stability` again"


class Stability(NamedTuple):
    """What was found again.

    Attributes:
        figures: means over the latents of all runs, nested, see `seed_stability`.
        others: how many other runs there were.
        found: by shared latent of this run, in what share of them; None of one that does not fire on both sides.
    """

    figures: Mapping[str, Any]
    others: int
    found: Sequence[float | None]


def write_stability(
    path: Path,
    runs: Sequence[Path],
    figures: Mapping[str, Any],
    reasons: Mapping[str, str],
    found: Sequence[Sequence[float | None]],
) -> None:
    """Replace the file at `path`.

    Args:
        path: where.
        runs: folders of the runs that were compared.
        figures: see `Stability`.
        reasons: why figures do not exist, by dotted key.
        found: see `Stability`, of each run.

    Raises:
        RunError: a run has no model, or the file cannot be written.
    """
    entries = [
        {"run": str(run), "model_blake3": model_seal(run), "found": list(shares)}
        for run, shares in zip(runs, found, strict=True)
    ]
    write_sealed(path, {"stability": dict(figures), "not_defined": dict(reasons), "runs": entries})


def read_stability(run: Path) -> Stability | None:
    """Read what was found again of a run's dictionary; None if that was not measured of the one that the run now has.

    Raises:
        RunError: the file is damaged, or the run has no model.
    """
    path = run / STABILITY_FILE
    if not os.path.lexists(path):
        return None
    values = read_sealed(path, _REMEDY)
    own = [entry for entry in values["runs"] if entry["model_blake3"] == model_seal(run)]
    return Stability(values["stability"], len(values["runs"]) - 1, own[0]["found"]) if own else None
