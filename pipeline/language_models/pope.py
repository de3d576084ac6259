"""POPE's scores of yes-or-no answers: "yes" is the positive class, and a hallucination a false positive.

"Evaluating Object Hallucination in Large Vision-Language Models" (arXiv 2305.10355), section 4.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import DatasetError
from pipeline.language_models.questions import Answer


class PopeScores(NamedTuple):
    """Shares between 0 and 1; one whose denominator is 0 is 0."""

    accuracy: float
    precision: float
    """Of the answers "yes", those that are true."""
    recall: float
    """Of the objects that are there, those that were answered with "yes"."""
    f1: float
    """Harmonic mean of precision and recall."""
    yes_ratio: float
    """Answers "yes" of all answers; half of POPE's questions deserve one."""


def parse_answer(text: str) -> Answer:
    """POPE's reading of a free answer: "no" if its first sentence says "no", "not" or "n't", else "yes"."""
    words = re.findall(r"[a-z']+", text.split(".", maxsplit=1)[0].lower())
    return "no" if {"no", "not"} & set(words) or any(word.endswith("n't") for word in words) else "yes"


def score(answers: Sequence[Answer], labels: Sequence[Answer]) -> PopeScores:
    """Compare answers with the truth, both in the order of the questions.

    Raises:
        DatasetError: there is no answer, or their number differs from that of the labels.
    """
    if not answers or len(answers) != len(labels):
        raise DatasetError(f"{len(answers)} answers to {len(labels)} questions; answer every question once")
    pairs = list(zip(answers, labels, strict=True))
    true_yes, false_yes = pairs.count(("yes", "yes")), pairs.count(("yes", "no"))
    false_no, true_no = pairs.count(("no", "yes")), pairs.count(("no", "no"))
    return PopeScores(
        accuracy=(true_yes + true_no) / len(pairs),
        precision=_share(true_yes, true_yes + false_yes),
        recall=_share(true_yes, true_yes + false_no),
        f1=_share(2 * true_yes, 2 * true_yes + false_yes + false_no),
        yes_ratio=(true_yes + false_yes) / len(pairs),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
