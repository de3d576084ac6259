"""The results of `concord classify` as tables: one of a task on the terminal, one of several variants in Markdown."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.results.intervals import intervals
from pipeline.results.markup import table_text

RULES = {
    "alpha_0": "backbone alone",
    "alpha_fixed": "fixed alpha",
    "alpha_tuned": "tuned alpha",
    "concepts_only": "concepts alone",
}
"""What the rules of `pipeline.classification.comparison` are called."""

RULE_COLUMNS = ("score", "alpha", "accuracy %", "difference")
"""What `rule_rows` gives of each rule."""

_COLUMNS = ("variant", "fixed alpha", "tuned alpha", "concepts alone", "above untrained")


def classification_tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table per task: what a fixed and a tuned alpha add to the backbone alone, and how far concepts get alone.

    Args:
        results: Per variant what `concord classify --untrained` wrote, of the same tasks.
    """
    first = next(iter(results.values()))
    task = next(iter(first["tasks"].values()))
    draws = f"{task['splits']} draws of " if task["splits"] > 1 else ""
    introduction = (
        "## Zero-shot classification\n\n"
        "What concepts add to the backbone alone, how far they get alone, and how much further than untrained ones, in"
        "\npercent ([classification.md](classification.md)). Mean ± half of the 95 % interval over "
        f"{draws}{task['test_pictures']} pictures\n"
        f"± that over {len(first['runs'])} dictionaries: seeds of training or, untrained, of initial weights."
    )
    return "\n".join([f"{introduction}\n", *(_table(name, results) for name in first["tasks"])])


def percent(measured: Mapping[str, float | None], form: str) -> str:
    """A mean and its half widths, those that are known, in percent."""
    mean, *half_widths = (measured[key] for key in ("mean", "over_pictures", "over_trainings"))
    shown = ["–" if mean is None else f"{100 * mean:{form}}"]
    shown += [f"{100 * width:{form.removeprefix('+')}}" for width in half_widths if width is not None]
    return " ± ".join(shown)


def rule_rows(rules: Mapping[str, Any]) -> list[list[str]]:
    """A row per rule of one kind of dictionary: its name, alphas, accuracy and difference to the backbone alone."""
    rows = []
    for rule, label in RULES.items():
        row = rules[rule]
        alphas = sorted({alpha for of_run in row.get("alpha", ()) for alpha in of_run})
        difference = "" if rule == "alpha_0" else percent(row["difference"], "+z.2f")
        shown = ", ".join(f"{alpha:g}" for alpha in alphas)
        rows.append([label, shown, percent(row["accuracy"], "z.2f"), difference])
    return rows


def task_caption(task: Mapping[str, Any], runs: int) -> str:
    """What the rows of a task say, over how many pictures, splits and dictionaries, and what was skipped."""
    over = f"{task['splits']} splits" if task["splits"] > 1 else f"{task['test_pictures']} pictures"
    if runs > 1:
        over += f" ± over {runs} dictionaries"
    caption = (
        f"{task['classes']} classes, {task['test_pictures']} pictures scored and {task['tuning_pictures']} tuned on; "
        f"accuracy and its difference to the backbone alone: mean ± 95 % interval over {over}"
    )
    if task.get("skipped"):
        kinds = Counter(reason.split(":")[0].split(" as ")[0] for reason in task["skipped"].values())
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        caption += f"; skipped: {len(task['skipped'])} ({counted})"
    return caption


def _table(name: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(results.values()))["tasks"][name]
    alone = percent(first["trained"]["alpha_0"]["accuracy"] | {"over_trainings": None}, "z.1f")
    rows = []
    for variant, result in results.items():
        trained, untrained = (result["tasks"][name][kind] for kind in ("trained", "untrained"))
        learned = _learned(trained["concepts_only"], untrained["concepts_only"])
        rows.append((f"`{variant}`", *_cells(trained), learned))
        rows.append((f"`{variant}`, untrained", *_cells(untrained), ""))
    title = f"### `{name}`: {first['classes']} classes, {alone} with the backbone alone"
    return f"{title}\n\n{table_text(_COLUMNS, rows)}\n"


def _learned(trained: Mapping[str, Any], untrained: Mapping[str, Any]) -> str:
    """How much further concepts get alone than untrained ones; how that varies, several draws of pictures say."""
    if "by_split" not in trained:
        mean = trained["accuracy"]["mean"] - untrained["accuracy"]["mean"]
        return percent({"mean": mean, "over_pictures": None, "over_trainings": None}, "+z.1f")
    values, control = (np.array(rule["by_split"]) for rule in (trained, untrained))
    return percent(intervals(values - control), "+z.1f")


def _cells(rules: Mapping[str, Any]) -> list[str]:
    added = [percent(rules[rule]["difference"], "+z.1f") for rule in ("alpha_fixed", "alpha_tuned")]
    return [*added, percent(rules["concepts_only"]["accuracy"], "z.1f")]
