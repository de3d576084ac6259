"""The figures side by side, computed by hand."""

import pytest

from pipeline.classification.comparison import compare
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.scoring import ScoredPictures
from pipeline.classification.splits import Split
from pipeline.errors import ConfigError

from .scored import random_scored, scored

# The embedding speaks for class 0, the concepts for class 1, which is chosen where alpha exceeds 0.5.
COSINES = ([0.5, 0.0], [0.0, 1.0])
OPTIONS = ClassificationOptions(alpha=1.0, alphas=(0, 0.2, 2))


def pictures(labels: list[int], prefix: str) -> ScoredPictures:
    embedding, concepts = ([row] * len(labels) for row in COSINES)
    return scored(labels, embedding, concepts, prefix)


def split(tuning: list[int], test: list[int]) -> Split:
    return Split(pictures(tuning, "tuning "), pictures(test, "test "))


def test_several_splits_by_hand() -> None:
    # Tuned alpha: 0 where class 0 prevails, 2 where class 1 does. By split: 3/4 and 1/4 with alpha = 0.
    result = compare([split([0, 0, 1], [0, 0, 0, 1]), split([1, 1, 0], [0, 1, 1, 1])], OPTIONS)
    rules = result["rules"]
    assert rules["alpha_0"]["by_split"] == [0.75, 0.25]
    assert rules["alpha_fixed"]["by_split"] == [0.25, 0.75]
    assert rules["concepts_only"]["by_split"] == [0.25, 0.75]
    assert rules["alpha_tuned"]["by_split"] == [0.75, 0.75]
    assert rules["alpha_tuned"]["alpha"] == [0, 2]
    assert rules["alpha_tuned"]["accuracy"] == {"mean": 0.75, "half_width": 0}
    # Differences 0 and 0.5: mean 0.25, standard error 0.25, t of one degree of freedom.
    assert rules["alpha_tuned"]["difference"]["mean"] == pytest.approx(0.25)
    assert rules["alpha_tuned"]["difference"]["half_width"] == pytest.approx(12.7062 * 0.25, rel=1e-5)
    assert rules["alpha_0"]["difference"] == {"mean": 0, "half_width": 0}
    assert (result["interval_over"], result["splits"]) == ("splits", 2)
    assert (result["tuning_pictures"], result["test_pictures"]) == (3, 4)


def test_overlapping_splits_have_wider_intervals() -> None:
    splits = [split([0], [0, 0, 0, 1]), split([0], [0, 1, 1, 1])]
    plain, widened = (compare(splits, OPTIONS, overlap)["rules"]["alpha_0"]["accuracy"] for overlap in (0, 1))
    assert widened["half_width"] == pytest.approx(plain["half_width"] * 3**0.5)  # 1/2 + 1 for 1/2


def test_a_single_split_has_an_interval_over_its_pictures() -> None:
    result = compare([split([1], [0, 0, 0, 1])], OPTIONS, overlap=1.0)
    accuracy = result["rules"]["alpha_0"]["accuracy"]
    assert result["interval_over"] == "pictures"
    assert accuracy["mean"] == 0.75
    assert accuracy["half_width"] == pytest.approx(
        3.182446 * 0.5 / 2, rel=1e-5
    )  # hits 1, 1, 1, 0: deviation 0.5
    # Paired: concepts win the one that was lost and lose the three: differences -1, -1, -1, 1.
    difference = result["rules"]["alpha_tuned"]["difference"]
    assert difference["mean"] == -0.5
    assert difference["half_width"] == pytest.approx(3.182446 * 1.0 / 2, rel=1e-5)


def test_tuning_on_the_scored_split_is_refused() -> None:
    test = random_scored(0)
    with pytest.raises(ConfigError, match="must not be tuned on pictures that are scored: 40 of the 40"):
        compare([Split(random_scored(1, prefix="other "), test), Split(test, test)], OPTIONS)
