"""What concepts add: accuracy for alpha = 0, one fixed alpha and a tuned one, side by side on the same pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pipeline.classification.options import ClassificationOptions
from pipeline.classification.scoring import best_alpha, concept_hits, hits
from pipeline.classification.splits import Split, refuse_overlap
from pipeline.results.intervals import intervals


def compare(
    runs: Sequence[Sequence[Split]], options: ClassificationOptions, overlap: float = 0.0
) -> dict[str, Any]:
    """Top-1 accuracy of every rule on the test parts, and how much higher it is than with alpha = 0.

    Alpha is tuned on each split's tuning part and scored on its test part, for each training by itself. Of several
    splits the values are one accuracy each; of a single one they are its pictures', 1 or 0 each.

    Args:
        runs: Per training of a dictionary the same splits.
        options: The alphas.
        overlap: What `half_width` is to know of the splits.

    Returns:
        For the rules `alpha_0`, `alpha_fixed`, `alpha_tuned` and `concepts_only` the `accuracy` and its paired
        `difference` to `alpha_0`, each with its `mean` over everything and two half widths of a 95 % interval:
        `over_pictures`, of the values averaged over trainings, and `over_trainings`, of the trainings averaged over
        values, None for a single one. Also the `alpha`s and, of several splits, the accuracies `by_split`, a list
        per training.

    Raises:
        ConfigError: a split tunes on pictures that it scores.
    """
    for split in (split for splits in runs for split in splits):
        refuse_overlap(split)
    alphas = {
        "alpha_0": [[0.0] * len(splits) for splits in runs],
        "alpha_fixed": [[options.alpha] * len(splits) for splits in runs],
        "alpha_tuned": [[best_alpha(split.tuning, options.alphas) for split in splits] for splits in runs],
    }
    values = {
        rule: _values(
            [
                [hits(split.test, alpha) for split, alpha in zip(splits, of_run, strict=True)]
                for splits, of_run in zip(runs, of_rule, strict=True)
            ]
        )
        for rule, of_rule in alphas.items()
    }
    values["concepts_only"] = _values([[concept_hits(split.test) for split in splits] for splits in runs])
    several = len(runs[0]) > 1
    shared = overlap if several else 0.0
    return {
        rule: {
            "accuracy": intervals(of_rule, shared),
            "difference": intervals(of_rule - values["alpha_0"], shared),
            **({"alpha": alphas[rule]} if rule in alphas else {}),
            **({"by_split": of_rule.tolist()} if several else {}),
        }
        for rule, of_rule in values.items()
    }


def _values(of_runs: Sequence[Sequence[np.ndarray]]) -> Float[np.ndarray, "run value"]:
    if len(of_runs[0]) == 1:
        return np.array([splits[0] for splits in of_runs], dtype=np.float64)
    return np.array([[split.mean() for split in splits] for splits in of_runs])
