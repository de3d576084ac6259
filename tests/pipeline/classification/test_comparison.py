"""The figures side by side, computed by hand."""

from dataclasses import replace

import numpy as np
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


# Of two splits alpha = 0 is right on 3/4 and 1/4, and tuning chooses 0 where class 0 prevails, 2 where class 1 does.
SPLITS = [split([0, 0, 1], [0, 0, 0, 1]), split([1, 1, 0], [0, 1, 1, 1])]


def test_several_splits_by_hand() -> None:
    rules = compare([SPLITS], OPTIONS)
    assert rules["alpha_0"]["by_split"] == [[0.75, 0.25]]
    assert rules["alpha_fixed"]["by_split"] == [[0.25, 0.75]]
    assert rules["concepts_only"]["by_split"] == [[0.25, 0.75]]
    assert rules["alpha_tuned"]["by_split"] == [[0.75, 0.75]]
    assert rules["alpha_tuned"]["alpha"] == [[0, 2]]
    assert rules["alpha_tuned"]["accuracy"] == {"mean": 0.75, "over_pictures": 0, "over_trainings": None}
    # Differences 0 and 0.5: mean 0.25, standard error 0.25, t of one degree of freedom.
    assert rules["alpha_tuned"]["difference"]["mean"] == pytest.approx(0.25)
    assert rules["alpha_tuned"]["difference"]["over_pictures"] == pytest.approx(12.7062 * 0.25, rel=1e-5)
    assert rules["alpha_0"]["difference"] == {"mean": 0, "over_pictures": 0, "over_trainings": None}


def test_pictures_and_trainings_have_intervals_of_their_own_by_hand() -> None:
    # A second training whose concepts are right about every picture, also where alpha is tuned.
    sure = [Split(*(knowing(part) for part in one)) for one in SPLITS]
    accuracy = compare([SPLITS, sure], OPTIONS)["concepts_only"]["accuracy"]
    # By training and split: 0.25, 0.75 and 1, 1. Averages over trainings 0.625, 0.875; over splits 0.5, 1.
    assert accuracy["mean"] == pytest.approx(0.75)
    assert accuracy["over_pictures"] == pytest.approx(12.7062 * 0.125, rel=1e-5)
    assert accuracy["over_trainings"] == pytest.approx(12.7062 * 0.25, rel=1e-5)


def knowing(part: ScoredPictures) -> ScoredPictures:
    return replace(part, concepts=np.eye(2, dtype=np.float32)[part.labels])


def test_overlapping_splits_have_wider_intervals_over_pictures_only() -> None:
    plain, widened = (
        compare([SPLITS, SPLITS], OPTIONS, overlap)["alpha_0"]["accuracy"] for overlap in (0, 1)
    )
    assert widened["over_pictures"] == pytest.approx(plain["over_pictures"] * 3**0.5)  # 1/2 + 1 for 1/2
    assert widened["over_trainings"] == plain["over_trainings"] == 0


def test_a_single_split_has_an_interval_over_its_pictures() -> None:
    rules = compare([[split([1], [0, 0, 0, 1])]], OPTIONS, overlap=1.0)
    accuracy = rules["alpha_0"]["accuracy"]
    assert accuracy["mean"] == 0.75
    # Hits 1, 1, 1, 0: deviation 0.5.
    assert accuracy["over_pictures"] == pytest.approx(3.182446 * 0.5 / 2, rel=1e-5)
    # Paired: concepts win the one that was lost and lose the three: differences -1, -1, -1, 1.
    difference = rules["alpha_tuned"]["difference"]
    assert difference["mean"] == -0.5
    assert difference["over_pictures"] == pytest.approx(3.182446 * 1.0 / 2, rel=1e-5)


def test_a_fixed_alpha_of_0_is_the_backbone_alone() -> None:
    rules = compare([SPLITS], ClassificationOptions(alpha=0.0))
    assert rules["alpha_fixed"]["by_split"] == rules["alpha_0"]["by_split"]


def test_tuning_on_the_scored_split_is_refused() -> None:
    test = random_scored(0)
    proper = Split(random_scored(1, prefix="other "), test)
    with pytest.raises(ConfigError, match="must not be tuned on pictures that are scored: 40 of the 40"):
        compare([[proper], [Split(test, test)]], OPTIONS)
