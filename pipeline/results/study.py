"""The ablation table: every variant over several seeds, mean and spread, from the runs' metrics alone."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

Metrics = Mapping[str, Any]


class Column(NamedTuple):
    """One column: its heading and the keys to look for in `metrics.json`, the first that is there."""

    heading: str
    paths: tuple[str, ...]


TABLES: Mapping[str, tuple[Column, ...]] = {
    "Reconstruction (R²)": (
        Column("V self", ("reconstruction.vision.full_joint", "reconstruction.vision.full_global")),
        Column("T self", ("reconstruction.text.full_joint", "reconstruction.text.full_global")),
        Column("V shared", ("reconstruction.vision.shared",)),
        Column("T shared", ("reconstruction.text.shared",)),
        Column("V cross (T→V)", ("reconstruction.text_to_vision.shared",)),
        Column("T cross (V→T)", ("reconstruction.vision_to_text.shared",)),
        Column("V leak", ("reconstruction.text_to_vision.leak",)),
        Column("T leak", ("reconstruction.vision_to_text.leak",)),
    ),
    "Grounding and its controls": (
        Column("mass@obj", ("grounding.transport.mass_at_object",)),
        Column("point@1", ("grounding.transport.point_at_1",)),
        Column("IoU@10", ("grounding.transport.iou_at_10",)),
        Column("point@1, code", ("grounding.code.point_at_1",)),
        Column("point@1, swapped", ("grounding.swapped.point_at_1",)),
        Column("point@1, backbone", ("grounding.backbone.point_at_1",)),
        Column("point@1, uniform", ("grounding.uniform.point_at_1",)),
    ),
    "Degeneracy and concepts": (
        Column("maxfreq t2i", ("degeneracy.text_to_image",)),
        Column("maxfreq i2t", ("degeneracy.image_to_text",)),
        Column("dead shared V", ("degeneracy.dead_shared.vision",)),
        Column("dead shared T", ("degeneracy.dead_shared.text",)),
        Column("recovery V", ("concepts.recovery.vision",)),
        Column("recovery T", ("concepts.recovery.text",)),
        Column("patch AP", ("concepts.patch_ap.mean",)),
        Column("same latent", ("concepts.same_latent.share",)),
    ),
    "Names of shared latents": (
        Column("named", ("interpretation.named",)),
        Column("names right", ("interpretation.correct",)),
        Column("share right", ("interpretation.share",)),
        Column("right about captions", ("interpretation.correct_in_captions",)),
        Column("same concept on both sides", ("interpretation.same_on_both_sides",)),
    ),
    "Alignment and consistency": (
        Column("intra", ("alignment.intra_similarity",)),
        Column("inter", ("alignment.inter_similarity",)),
        Column("fire on both sides", ("alignment.alive",)),
        Column("matched", ("consistency.matched",)),
        Column("mismatched", ("consistency.mismatched",)),
        Column("AUC", ("consistency.auc",)),
    ),
}


def study_tables(runs: Mapping[str, Sequence[Metrics]]) -> str:
    """Markdown tables of mean ± standard deviation over seeds.

    Args:
        runs: For every variant the metrics of its runs, one per seed.

    Returns:
        One table per group of `TABLES`; a figure that a variant does not have is a dash, and one that only some of its
        runs have says how many. No figure is marked as the best: the spread of a few seeds is there to be looked at.
    """
    return "\n".join(_table(title, columns, runs) for title, columns in TABLES.items())


def _table(title: str, columns: Sequence[Column], runs: Mapping[str, Sequence[Metrics]]) -> str:
    lines = [
        f"## {title}\n",
        "| variant | " + " | ".join(column.heading for column in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for variant, metrics in runs.items():
        cells = (_cell([_value(run, column.paths) for run in metrics]) for column in columns)
        lines.append(f"| `{variant}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _value(metrics: Metrics, paths: Sequence[str]) -> float | None:
    for path in paths:
        found: Any = metrics
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
            return float(found)
    return None


def _cell(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "–"
    spread = f" ± {stdev(present):.3f}" if len(present) > 1 else ""
    some = f" ({len(present)} of {len(values)})" if len(present) < len(values) else ""
    return f"{fmean(present):.3f}{spread}{some}"
