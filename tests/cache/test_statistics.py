import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache.format.statistics import QUANTILES, SideStatistics
from cache.format.storage import StoredRows


def tokens(seed, count, channels=4):
    rng = np.random.default_rng(seed)
    outliers = 10.0 ** rng.integers(-2, 4, channels)
    return (rng.standard_normal((count, channels)) * outliers + 5 * outliers).astype(np.float16)


def of(values, overflow=0):
    return SideStatistics.of(StoredRows(torch.from_numpy(values)), overflow)


def merged(parts):
    total = SideStatistics.empty(parts[0].shape[1])
    for part in parts:
        total = total.merge(of(part))
    return total


def assert_equal(found, expected):
    assert (found.count, found.overflow) == (expected.count, expected.overflow)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.squared_deviation, expected.squared_deviation, rtol=1e-9)
    np.testing.assert_array_equal(found.norm_bins, expected.norm_bins)
    np.testing.assert_array_equal(found.norm_counts, expected.norm_counts)


@given(st.integers(0, 999), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_merged_moments_are_those_of_numpy_over_all_tokens(seed, counts):
    parts = [tokens(seed + number, count) for number, count in enumerate(counts)]
    whole = np.concatenate(parts).astype(np.float64)
    found = merged(parts)
    assert found.count == len(whole)
    if len(whole):
        np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.variance, whole.var(0), rtol=1e-9, atol=1e-12)


@given(st.integers(0, 999), st.tuples(*[st.integers(0, 30)] * 3))
def test_merging_is_associative_and_commutative(seed, counts):
    a, b, c = (of(tokens(seed + n, count), overflow=n) for n, count in enumerate(counts))
    assert_equal(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert_equal(a.merge(b), b.merge(a))


def test_nothing_is_the_neutral_element():
    some = of(tokens(0, 30), overflow=2)
    assert_equal(SideStatistics.empty(4).merge(some), some)
    assert_equal(some.merge(SideStatistics.empty(4)), some)


def test_a_constant_far_from_zero_has_no_variance():
    constant = np.full((3_000_000, 1), 60000, np.float16)
    statistics = of(constant)
    assert statistics.mean[0] == 60000 and statistics.variance[0] == 0


@pytest.mark.parametrize("count", [1, 2, 7, 5000])
def test_norm_quantiles_are_order_statistics_to_a_tenth_of_a_percent(count):
    values = tokens(3, count)
    norms = np.sort(np.linalg.norm(values.astype(np.float64), axis=1))
    exact = norms[[int(quantile * (count - 1)) for quantile in QUANTILES]]
    found = merged(np.array_split(values, min(count, 4))).norm_quantiles
    assert tuple(found) == QUANTILES
    np.testing.assert_allclose(list(found.values()), exact, rtol=1.001e-3)


def test_tokens_of_zeros_and_of_overflowing_norm_have_quantiles():
    values = np.array([[0, 0], [3e38, 3e38]], np.float32)
    found = of(values).norm_quantiles
    assert found[0.0] == 0
    assert np.isfinite(found[1.0]) and found[1.0] > 3e38


def test_no_tokens_have_no_quantiles():
    assert SideStatistics.empty(3).norm_quantiles == {}


def test_json_keeps_every_bit():
    statistics = of(tokens(5, 100), overflow=7)
    back = SideStatistics.from_json(json.loads(json.dumps(statistics.to_json())))
    np.testing.assert_array_equal(back.mean, statistics.mean)
    np.testing.assert_array_equal(back.squared_deviation, statistics.squared_deviation)
    assert_equal(back, statistics)
