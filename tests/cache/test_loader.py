import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheError, PairLoader, batch_indices
from cache.order import epoch_order
from cache.placement import available_host_bytes, choose_placement, resident_bytes
from cache.prefetch import prefetched

PLACEMENTS = ["host", "stream", "device"]
SEEDS = st.integers(0, 2**40)


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@given(st.integers(1, 300), SEEDS, st.integers(0, 50))
def test_an_epoch_is_a_permutation(pairs, seed, epoch):
    assert sorted(epoch_order(pairs, seed, epoch)) == list(range(pairs))


def test_the_order_is_the_same_on_every_machine():
    assert epoch_order(8, seed=0, epoch=0).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert epoch_order(1000, seed=7, epoch=3)[:5].tolist() == [899, 840, 953, 481, 427]


@given(SEEDS, st.integers(0, 9))
def test_seeds_and_epochs_have_orders_of_their_own(seed, epoch):
    order = epoch_order(200, seed, epoch).tolist()
    assert order != epoch_order(200, seed, epoch + 1).tolist()
    assert order != epoch_order(200, seed + 1, epoch).tolist()


@given(st.integers(1, 100), st.data(), SEEDS, st.integers(0, 5))
def test_batches_are_disjoint_pieces_of_the_epoch(pairs, data, seed, epoch):
    batch_pairs = data.draw(st.integers(1, pairs))
    steps = [batch_indices(pairs, batch_pairs, seed, epoch, step) for step in range(pairs // batch_pairs)]
    assert all(len(step) == batch_pairs for step in steps)
    assert (
        np.concatenate(steps).tolist() == epoch_order(pairs, seed, epoch)[: len(steps) * batch_pairs].tolist()
    )


def test_shuffling_mixes_every_pair_into_every_place():
    positions = np.stack([np.argsort(epoch_order(64, 0, epoch)) for epoch in range(2000)])
    standard_error = 64 / np.sqrt(12) / np.sqrt(2000)
    assert np.abs(positions.mean(0) - 31.5).max() < 5 * standard_error


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_batches_are_the_pairs_of_the_order_as_the_reader_reads_them(cache, placement):
    loader = PairLoader(cache, 4, seed=5, placement=placement)
    assert loader.steps_per_epoch == 3 and loader.placement == placement
    batches = list(loader.batches(epoch=2))
    assert len(batches) == 3
    for step, batch in enumerate(batches):
        assert same(batch, cache.read_pairs(batch_indices(cache.pairs, 4, 5, 2, step)))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("first_step", [0, 1, 2, 3])
def test_an_epoch_can_be_entered_at_any_step(cache, placement, first_step):
    loader = PairLoader(cache, 4, seed=1, placement=placement)
    whole, part = list(loader.batches(3)), list(loader.batches(3, first_step))
    assert len(part) == 3 - first_step
    assert all(map(same, part, whole[first_step:]))


def test_auto_keeps_a_small_cache_in_host_memory(cache):
    assert PairLoader(cache, 4, seed=0).placement == "host"


def test_auto_streams_what_does_not_fit_the_host(cache, monkeypatch):
    assert 0 < resident_bytes(cache) < available_host_bytes() / 2
    monkeypatch.setattr("cache.placement.HOST_SHARE", 0.0)
    assert choose_placement(cache, torch.device("cpu")) == "stream"


def test_resident_bytes_are_those_of_the_arrays_in_memory(Example, tmp_path):  # noqa: N803
    cache = Example(caption_counts=(1,) * 9, undecodable=frozenset()).write(tmp_path / "one.zarr")
    resident = PairLoader(cache, 1, seed=0, placement="host")._read.__self__
    arrays = [value for value in vars(resident).values() if isinstance(value, torch.Tensor)]
    assert sum(array.nbytes for array in arrays) == resident_bytes(cache)


@pytest.mark.parametrize("batch_pairs", [0, 14])
def test_batches_that_cannot_be_drawn_are_refused(cache, batch_pairs):
    with pytest.raises(CacheError, match=f"batches of {batch_pairs} pairs from 13"):
        PairLoader(cache, batch_pairs, seed=0)


def test_an_unknown_placement_is_refused(cache):
    with pytest.raises(CacheError, match="'disk'; use one of auto, host, stream, device"):
        PairLoader(cache, 4, seed=0, placement="disk")


@given(st.integers(0, 12), st.integers(0, 4), st.integers(0, 12))
def test_prefetching_keeps_order_and_stays_within_its_bound(count, ahead, taken):
    computed = []

    def compute(part):
        computed.append(part)
        return part * part

    results = prefetched(compute, range(count), ahead)
    for number, result in enumerate(itertools.islice(results, taken)):
        assert result == number * number
        assert len(computed) <= number + 1 + ahead
    results.close()


def test_leaving_a_stream_early_leaves_no_thread_behind(cache):
    batches = PairLoader(cache, 1, seed=0, placement="stream").batches(0)
    next(batches)
    del batches
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cache-prefetch")]
