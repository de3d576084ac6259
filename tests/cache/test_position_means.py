"""Means by position against numpy, merged in parts, and those of a cache against a walk over its pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache.format.position_means import PositionMeans
from cache.format.storage import StoredRows

POSITIONS, CHANNELS = 5, 3


def drawn(seed, count):
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((count, CHANNELS)) * 3 + 100).astype(np.float16)
    return rows, rng.integers(0, POSITIONS, count)


def of(rows, position):
    return PositionMeans.of(StoredRows(torch.from_numpy(rows)), position, POSITIONS)


@given(st.integers(0, 999), st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_merged_means_are_those_of_numpy_over_all_tokens(seed, counts):
    parts = [drawn(seed + number, count) for number, count in enumerate(counts)]
    found = PositionMeans.empty(POSITIONS, CHANNELS)
    for part in parts:
        found = found.merge(of(*part))
    rows, position = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rows = rows.astype(np.float64)
    for place in range(POSITIONS):
        here = rows[position == place]
        assert found.count[place] == len(here)
        np.testing.assert_allclose(found.mean[place], here.mean(0) if len(here) else 0, rtol=1e-12)
    if len(rows):
        explained = sum(
            ((rows[position == place].mean(0) - rows.mean(0)) ** 2 * (position == place).sum())
            for place in np.unique(position)
        )
        np.testing.assert_allclose(found.between(rows.mean(0)), explained, rtol=1e-9, atol=1e-9)


def test_patches_are_told_apart_by_their_place_in_the_grid():
    images = np.random.default_rng(0).standard_normal((7, POSITIONS, CHANNELS)).astype(np.float32)
    found = PositionMeans.of_images(StoredRows(torch.from_numpy(images)))
    np.testing.assert_array_equal(found.count, 7)
    np.testing.assert_allclose(found.mean, images.mean(0, dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize("storage_dtype", ["float16", "int8"])
def test_a_caches_means_are_of_the_tokens_that_are_in_a_pair(Example, tmp_path, storage_dtype):  # noqa: N803
    """Each image once, however many captions it has; nothing of what was skipped."""
    with Example(storage_dtype=storage_dtype).write(tmp_path / "example.zarr") as cache:
        batch = cache.read_pairs(np.arange(cache.pairs))
        found, statistics = cache.position_means, cache.statistics
    _, first = np.unique(cache.pair_images, return_index=True)
    images = batch.vision_tokens.numpy()[first].astype(np.float64)
    np.testing.assert_array_equal(found["vision"].count, len(first))
    np.testing.assert_allclose(found["vision"].mean, images.mean(0), rtol=1e-12, atol=1e-12)
    texts = batch.text_tokens.numpy().astype(np.float64)
    captions = np.split(texts, batch.text_offsets[1:-1].numpy())
    for place in range(cache.manifest.context_length):
        here = [caption[place] for caption in captions if len(caption) > place]
        assert found["text"].count[place] == len(here)
        np.testing.assert_allclose(
            found["text"].mean[place], np.mean(here, axis=0) if here else 0, rtol=1e-12, atol=1e-12
        )
    for side in ("vision", "text"):
        assert found[side].count.sum() == statistics[side].count
        assert np.all(found[side].between(statistics[side].mean) <= statistics[side].squared_deviation)
