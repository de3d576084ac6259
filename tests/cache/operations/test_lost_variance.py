"""What a cache lost of another is the squared difference of their tokens over the variance, whatever the blocks are."""

import numpy as np
import pytest

from cache.operations import convert
from cache.operations.lost_variance import lost_variance


@pytest.fixture(scope="module")
def exact(Example, tmp_path_factory):  # noqa: N803
    return Example(storage_dtype="float32").write(tmp_path_factory.mktemp("exact") / "exact.zarr")


@pytest.mark.parametrize(
    "form", [("bfloat16", "none", 3), ("int8", "zstd", None), ("float32", "bitround", 2)]
)
def test_it_is_the_squared_error_over_the_variance(exact, tmp_path, monkeypatch, form):
    monkeypatch.setattr("cache.operations.lost_variance._BLOCK_VALUES", 64)
    cache = convert(exact, tmp_path / "lossy.zarr", *form)
    ours, theirs = (one.read_pairs(np.arange(one.pairs)) for one in (cache, exact))
    _, once = np.unique(exact.pair_images, return_index=True)
    lost = lost_variance(cache, exact)
    for side, (left, right) in {
        "vision": (ours.vision_tokens[once].flatten(0, 1), theirs.vision_tokens[once].flatten(0, 1)),
        "text": (ours.text_tokens, theirs.text_tokens),
    }.items():
        error = (left.double() - right.double()).square().sum(0)
        total = right.double().var(0, correction=0) * len(right)
        assert lost[side].all == pytest.approx(float(error.sum() / total.sum()), rel=1e-9)
        assert lost[side].worst == pytest.approx(float((error / total).max()), rel=1e-9)


def test_nothing_is_lost_between_a_cache_and_itself(cache):
    assert set(lost_variance(cache, cache).values()) == {(0.0, 0.0)}
