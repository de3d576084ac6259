"""The results of several variants as Markdown, from what `concord classify` wrote and nothing else."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.classification.comparison import intervals

RULES = {
    "alpha_0": "backbone alone",
    "alpha_fixed": "fixed alpha",
    "alpha_tuned": "tuned alpha",
    "concepts_only": "concepts alone",
}
"""What the rules of `pipeline.classification.comparison` are called."""


def classification_tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table per task: what a fixed and a tuned alpha add to the backbone alone, and how far concepts get alone.

    Args:
        results: Per variant what `concord classify --untrained` wrote, of the same tasks, in several draws of pictures.
    """
    first = next(iter(results.values()))
    task = next(iter(first["tasks"].values()))
    introduction = (
        "## Zero-shot classification\n\n"
        "What concepts add to the backbone alone, how far they get alone, and how much further than untrained ones, in"
        "\npercent ([classification.md](classification.md)). Mean ± half of the 95 % interval over "
        f"{task['splits']} draws of {task['test_pictures']} pictures\n"
        f"± that over {len(first['runs'])} dictionaries: seeds of training or, untrained, of initial weights."
    )
    return "\n".join([f"{introduction}\n", *(_table(name, results) for name in first["tasks"])])


def percent(measured: Mapping[str, float | None], form: str) -> str:
    """A mean and its half widths, those that are known, in percent."""
    mean, *half_widths = (measured[key] for key in ("mean", "over_pictures", "over_trainings"))
    shown = ["–" if mean is None else f"{100 * mean:{form}}"]
    shown += [f"{100 * width:{form.removeprefix('+')}}" for width in half_widths if width is not None]
    return " ± ".join(shown)


def _table(name: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(results.values()))["tasks"][name]
    alone = percent(first["trained"]["alpha_0"]["accuracy"] | {"over_trainings": None}, "z.1f")
    lines = [
        f"### `{name}`: {first['classes']} classes, {alone} with the backbone alone\n",
        "| variant | fixed alpha | tuned alpha | concepts alone | above untrained |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for variant, result in results.items():
        trained, untrained = (result["tasks"][name][kind] for kind in ("trained", "untrained"))
        values, control = (np.array(rules["concepts_only"]["by_split"]) for rules in (trained, untrained))
        learned = percent(intervals(values - control), "+z.1f")
        for label, rules, last in (("", trained, learned), (", untrained", untrained, "")):
            lines.append(f"| `{variant}`{label} | " + " | ".join([*_cells(rules), last]) + " |")
    return "\n".join(lines) + "\n"


def _cells(rules: Mapping[str, Any]) -> list[str]:
    added = [percent(rules[rule]["difference"], "+z.1f") for rule in ("alpha_fixed", "alpha_tuned")]
    return [*added, percent(rules["concepts_only"]["accuracy"], "z.1f")]
