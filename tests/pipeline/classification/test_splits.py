"""What is tuned on is never scored."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.classification.splits import Split, refuse_overlap, stratified_split
from pipeline.errors import ConfigError, DatasetError

from .scored import random_scored, scored


@given(
    counts=st.lists(st.integers(2, 9), min_size=1, max_size=4),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_every_class_is_parted_without_overlap(counts: list[int], share: float, seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    cosines = np.arange(len(labels) * len(counts)).reshape(len(labels), -1)
    pictures = scored(labels, cosines, -cosines)
    names = [str(label) for label in range(len(counts))]
    split = stratified_split(pictures, names, share, seed)
    refuse_overlap(split)
    assert sorted(split.tuning.names + split.test.names) == sorted(pictures.names)
    tuned, tested = Counter(split.tuning.labels.tolist()), Counter(split.test.labels.tolist())
    for label, count in enumerate(counts):
        assert tested[label] >= 1
        assert tuned[label] == min(max(round(count * share), 1), count - 1)
    for part in split:
        rows = [int(name) for name in part.names]
        assert np.array_equal(part.embedding, pictures.embedding[rows])
        assert part.labels.tolist() == [labels[row] for row in rows]


def test_a_seed_is_a_split_and_another_seed_another_one() -> None:
    pictures, names = random_scored(0), list("abcde")
    first, again, other = (stratified_split(pictures, names, 0.5, seed).test.names for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_class_of_one_picture_cannot_be_split() -> None:
    with pytest.raises(DatasetError, match="class 'boat' has 1 usable picture, and a split takes two"):
        stratified_split(scored([0, 0, 1], np.eye(3), np.eye(3)), ["cat", "boat"], 0.5, 0)


def test_tuning_on_a_scored_picture_is_refused_by_name() -> None:
    tuning, test = random_scored(0, prefix="tuning "), random_scored(1, prefix="test ")
    refuse_overlap(Split(tuning, test))
    copied = replace(tuning, digests=[*tuning.digests[:-1], test.digests[3]])
    with pytest.raises(
        ConfigError, match=r"must not be tuned on .* scored: 1 of the 40 .* such as tuning 39"
    ):
        refuse_overlap(Split(copied, test))
