"""Means by position against numpy, merged in parts, and those of a cache against a walk over its pairs."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import ActivationCache, CacheCorruptError, CacheWriter
from cache.files.durable import write_all_durably
from cache.format.derived import CAPTION_COLUMNS, consolidate_groups, derived
from cache.format.layout import POSITION_MEANS_FILES, SAMPLES_FILE
from cache.format.ledger import completed, read_records
from cache.format.position_means import PositionMeans
from cache.format.root import read_root, write_root
from cache.format.samples import read_samples
from cache.format.storage import StoredRows
from cache.operations import verify
from cache.reading.position_means import read_position_means

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


def files_of(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def as_of_an_earlier_release(path):
    """Make the cache one that was written without means by position."""
    manifest, completion = read_root(path)
    records = read_records(path, completion)
    captions = read_samples(path / SAMPLES_FILE, completion.files[SAMPLES_FILE], CAPTION_COLUMNS)
    shutil.rmtree(path / "statistics")
    follows = derived(manifest, records, captions)
    consolidate_groups(follows)
    write_all_durably({path / name: content for name, content in follows.members.items()})
    files = {name: file for name, file in completion.files.items() if name not in POSITION_MEANS_FILES}
    write_root(path, manifest, completed(records, files), follows)


def test_stored_means_are_those_of_the_tokens_and_are_read_without_them(cache, monkeypatch):
    with ActivationCache.open(cache.path) as opened:
        expected = read_position_means(opened, opened.read_stored)
        monkeypatch.setattr("cache.reading.reader.read_position_means", None)
        for side, found in opened.position_means.items():
            np.testing.assert_array_equal(found.count, expected[side].count)
            np.testing.assert_array_equal(found.mean, expected[side].mean)


def test_a_cache_of_an_earlier_release_is_sound_and_its_means_are_read_from_its_tokens(path):
    written = files_of(path)
    with ActivationCache.open(path) as cache:
        expected = cache.position_means
    as_of_an_earlier_release(path)
    assert not files_of(path).keys() & set(POSITION_MEANS_FILES)
    assert verify(path).sound
    with ActivationCache.open(path) as cache:
        for side, found in cache.position_means.items():
            np.testing.assert_array_equal(found.mean, expected[side].mean)
    with CacheWriter.reopen(path, []) as writer:
        writer.finish().close()
    assert files_of(path) == written


@pytest.mark.parametrize("name", POSITION_MEANS_FILES)
def test_damaged_means_are_refused_and_found(path, name):
    content = bytearray((path / name).read_bytes())
    content[5] ^= 1
    (path / name).write_bytes(content)
    assert [problem.file for problem in verify(path).problems] == [name]
    with ActivationCache.open(path) as cache, pytest.raises(CacheCorruptError, match="position_"):
        _ = cache.position_means
