"""Deranged pairs: every caption once, never with its own image, the same for one seed."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache, CacheError, DerangedCache, PairLoader
from cache.loading.derangement import derangement


@given(st.lists(st.integers(1, 4), min_size=4, max_size=12), st.integers(0, 99))
def test_every_pair_is_chosen_once_and_for_one_of_another_image(counts: list[int], seed: int) -> None:
    images = np.repeat(np.arange(len(counts)) * 3, counts)
    if 2 * max(counts) > len(images):
        return
    chosen = derangement(images, seed)
    assert sorted(chosen) == list(range(len(images)))
    assert (images[chosen] != images).all()
    assert np.array_equal(chosen, derangement(images, seed))


def test_another_seed_deranges_in_another_way() -> None:
    images = np.arange(50)
    assert not np.array_equal(derangement(images, 0), derangement(images, 1))


def test_pairs_that_are_mostly_of_one_image_are_refused() -> None:
    with pytest.raises(CacheError, match="3 of 5 are of one image; encode captions of more images"):
        derangement(np.array([0, 0, 0, 1, 2]), 0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    return write_cache(
        tmp_path_factory.mktemp("deranged") / "train.zarr",
        synthetic_activations(12, shard_images=5, channels=4),
    )


@pytest.mark.parametrize("placement", ["host", "stream"])
def test_a_batch_has_the_images_it_had_and_the_captions_of_others(
    cache: ActivationCache, placement: str
) -> None:
    deranged = DerangedCache(cache, seed=3)
    chosen = derangement(cache.pair_images, 3)
    batch = next(PairLoader(deranged, 4, seed=0, placement=placement).batches(0))  # type: ignore[arg-type]
    expected = cache.read_pairs(batch.pair.numpy())
    captions = cache.read_pairs(chosen[batch.pair.numpy()])
    assert (batch.vision_tokens == expected.vision_tokens).all()
    assert (batch.vision_pooled == expected.vision_pooled).all()
    assert (batch.text_tokens == captions.text_tokens).all()
    assert (batch.text_pooled == captions.text_pooled).all()
    assert (batch.text_offsets == captions.text_offsets).all()


def test_the_statistics_and_the_identity_are_those_of_the_cache(cache: ActivationCache) -> None:
    deranged = DerangedCache(cache, seed=3)
    assert deranged.manifest == cache.manifest
    assert np.array_equal(deranged.statistics["text"].mean, cache.statistics["text"].mean)


def test_another_process_reads_the_same_pairs(cache: ActivationCache) -> None:
    deranged = DerangedCache(cache, seed=3)
    assert np.array_equal(pickle.loads(pickle.dumps(deranged)).pair_captions, deranged.pair_captions)  # noqa: S301
