import numpy as np
import pytest

from cache import CacheError
from cache.operations import select_pairs


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (":3", [0, 1, 2]),
        ("10:", [10, 11, 12]),
        ("2:11:4", [2, 6, 10]),
        ("::6", [0, 6, 12]),
        ("-2:", [11, 12]),
        (":1000", list(range(13))),
    ],
)
def test_pairs_are_selected_like_a_slice(cache, numbers, expected):
    assert select_pairs(cache, numbers, None, []).pairs.tolist() == expected


@pytest.mark.parametrize("numbers", ["7", "a:b", "1:2:3:4", "9:2:-1", "::0", "", "1.5:"])
def test_what_is_no_slice_is_refused(cache, numbers):
    with pytest.raises(CacheError, match="not FIRST:END"):
        select_pairs(cache, numbers, None, [])


def test_pairs_are_selected_by_a_file_in_any_order(cache, tmp_path):
    (tmp_path / "pairs.txt").write_text("7\n\n 3 \r\n11\n")
    selected = select_pairs(cache, None, tmp_path / "pairs.txt", [])
    assert selected.pairs.tolist() == [3, 7, 11]
    assert selected.description == {"pairs_file": "pairs.txt"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1\n13\n", "line 2: '13' is not a pair; the cache has 0 to 12"),
        ("-1", "line 1: '-1' is not a pair"),
        ("two", "line 1: 'two'"),
        ("5\n6\n5", "line 3: pair 5 is already on line 1"),
        ("", "no pair is selected"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_its_line(cache, tmp_path, text, told):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(CacheError, match=told):
        select_pairs(cache, None, tmp_path / "pairs.txt", [])


def test_a_missing_file_is_named(cache, tmp_path):
    with pytest.raises(CacheError, match=r"nowhere.txt: cannot be read"):
        select_pairs(cache, None, tmp_path / "nowhere.txt", [])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("image_id=102", [3, 4, 5]),
        ("categories=boat", list(range(13))),
        ("caption=caption 0 of 5", [6]),
        ("caption_concepts=noun:boat", list(range(13))),
    ],
)
def test_pairs_are_selected_by_what_samples_say(cache, condition, expected):
    selected = select_pairs(cache, None, None, [condition]).pairs
    samples = cache.samples.filter(cache.samples["pair"].is_valid()).to_pylist()
    name, value = condition.split("=")
    brute = [
        row["pair"]
        for row in samples
        if value in (row[name] if isinstance(row[name], list) else [str(row[name])])
    ]
    assert selected.tolist() == brute
    assert len(brute) == len(expected)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("categories", "not COLUMN=VALUE; the columns are pair, image_row"),
        ("colour=red", "not COLUMN=VALUE"),
        ("objects=boat", "not COLUMN=VALUE"),
        ("image_id=first", "'first' is not of type int64"),
        ("categories=horse", "no pair; categories has boat"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(cache, condition, told):
    with pytest.raises(CacheError, match=told):
        select_pairs(cache, None, None, [condition])


def test_conditions_must_all_hold(cache, tmp_path):
    (tmp_path / "pairs.txt").write_text("3\n4\n9\n")
    selected = select_pairs(cache, "::3", tmp_path / "pairs.txt", ["image_id=102", "split=train"])
    assert selected.pairs.tolist() == [3]
    assert selected.description["where"] == ["image_id=102", "split=train"]


def test_conditions_that_exclude_each_other_are_refused(cache):
    with pytest.raises(CacheError, match="no pair is selected"):
        select_pairs(cache, ":3", None, ["image_id=110"])
    assert np.array_equal(select_pairs(cache, None, None, ["image_id=110"]).pairs, [12])
