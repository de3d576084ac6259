"""What concepts add: accuracy for alpha = 0, one fixed alpha and a tuned one, side by side on the same pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pipeline.classification.intervals import confidence_interval
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.scoring import best_alpha, concept_hits, hits
from pipeline.classification.splits import Split, refuse_overlap


def compare(splits: Sequence[Split], options: ClassificationOptions, overlap: float = 0.0) -> dict[str, Any]:
    """Top-1 accuracy of every rule on the test parts, and how much higher it is than with alpha = 0.

    Alpha is tuned on each split's tuning part and scored on its test part. Of several splits the values are one
    accuracy each; of a single one they are its pictures', 1 or 0 each.

    Args:
        splits: The repetitions.
        options: The alphas.
        overlap: What `confidence_interval` is to know of the repetitions.

    Returns:
        `interval_over`, "splits" or "pictures"; `splits`, how many; `tuning_pictures` and `test_pictures` of the
        first; `rules`: for `alpha_0`, `alpha_fixed`, `alpha_tuned` and `concepts_only` the `accuracy` and its
        paired `difference` to `alpha_0`, each with `mean` and `half_width`; the `alpha`s, one per split; and, of
        several splits, the accuracies `by_split`.

    Raises:
        ConfigError: a split tunes on pictures that it scores.
    """
    for split in splits:
        refuse_overlap(split)
    tuned = [best_alpha(split.tuning, options.alphas) for split in splits]
    alphas = {
        "alpha_0": [0.0] * len(splits),
        "alpha_fixed": [options.alpha] * len(splits),
        "alpha_tuned": tuned,
    }
    values = {
        rule: _values([hits(split.test, alpha) for split, alpha in zip(splits, of_rule, strict=True)])
        for rule, of_rule in alphas.items()
    }
    values["concepts_only"] = _values([concept_hits(split.test) for split in splits])
    several = len(splits) > 1
    shared = overlap if several else 0.0
    rules = {
        rule: {
            "accuracy": confidence_interval(of_rule, shared)._asdict(),
            "difference": confidence_interval(of_rule - values["alpha_0"], shared)._asdict(),
            **({"alpha": alphas[rule]} if rule in alphas else {}),
            **({"by_split": of_rule.tolist()} if several else {}),
        }
        for rule, of_rule in values.items()
    }
    return {
        "interval_over": "splits" if several else "pictures",
        "splits": len(splits),
        "tuning_pictures": len(splits[0].tuning),
        "test_pictures": len(splits[0].test),
        "rules": rules,
    }


def _values(of_splits: list[np.ndarray]) -> Float[np.ndarray, "value"]:
    if len(of_splits) == 1:
        return of_splits[0].astype(np.float64)
    return np.array([one.mean() for one in of_splits])
