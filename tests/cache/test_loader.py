import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheError, PairLoader, batch_indices, mixing
from cache.loading.host_memory import available_host_bytes
from cache.loading.order import epoch_order
from cache.loading.placement import PREFETCH_BATCHES, choose_placement
from cache.loading.resident import resident_bytes
from cache.reading.prefetch import prefetched

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


@pytest.mark.parametrize("batch_pairs", [10, 64, 100])
def test_epochs_mix_as_uniform_permutations_do(batch_pairs):
    pairs, epochs = 1000, 100
    found = [mixing(epoch_order(pairs, 0, epoch), batch_pairs) for epoch in range(epochs)]
    meetings = pairs // batch_pairs * batch_pairs * (batch_pairs - 1) / pairs  # expected, nearly Poisson
    assert np.mean(found) == pytest.approx(1, abs=5 / np.sqrt(meetings * epochs))


@pytest.mark.parametrize("batch_pairs", [2, 10, 100])
def test_orders_that_mix_less_have_a_larger_number(batch_pairs):
    pairs = 1000
    assert mixing(np.arange(pairs), batch_pairs) == pytest.approx(pairs / batch_pairs)
    blocks = np.random.default_rng(0).permutation(pairs // 2)
    halved = mixing((2 * blocks[:, None] + np.arange(2)).reshape(-1), batch_pairs)
    assert halved == pytest.approx(pairs / 2 / (batch_pairs - 1), rel=0.15)


@given(st.permutations(range(9)), st.integers(2, 9))
def test_mixing_counts_neighbours_that_meet(order, batch_pairs):
    batches = [order[start : start + batch_pairs] for start in range(0, 9, batch_pairs)]
    whole = [set(batch) for batch in batches if len(batch) == batch_pairs]
    met = sum({pair, pair + 1} <= batch for pair in range(8) for batch in whole)
    uniform = met_in_any(9, batch_pairs) * 8
    assert mixing(np.array(order), batch_pairs) == pytest.approx(met / uniform)


def met_in_any(pairs, batch_pairs):
    """Probability that two given pairs are in the same whole batch of a uniform permutation."""
    whole = pairs // batch_pairs * batch_pairs
    return whole / pairs * (batch_pairs - 1) / (pairs - 1)


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


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_parts_of_all_ranks_in_their_order_are_the_batch(cache, placement, ranks):
    alone = PairLoader(cache, 6, seed=2, placement=placement).batches(1)
    loaders = [PairLoader(cache, 6, 2, placement, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert {loader.steps_per_epoch for loader in loaders} == {2}
    for whole, *parts in zip(alone, *(loader.batches(1) for loader in loaders), strict=True):
        assert {len(part.pair) for part in parts} == {6 // ranks}
        for name in set(whole._fields) - {"text_offsets"}:
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
        assert torch.equal(torch.cat([part.text_offsets.diff() for part in parts]), whole.text_offsets.diff())


@pytest.mark.parametrize("first_step", [0, 1, 2])
def test_a_rank_enters_an_epoch_where_the_others_do(cache, first_step):
    whole = PairLoader(cache, 6, seed=2, placement="stream", rank=1, ranks=2)
    assert all(map(same, whole.batches(1, first_step), list(whole.batches(1))[first_step:]))


@pytest.mark.parametrize(("rank", "ranks"), [(0, 4), (2, 2), (-1, 2)])
def test_ranks_without_an_equal_part_are_refused(cache, rank, ranks):
    with pytest.raises(CacheError, match=f"rank {rank} of {ranks} has no equal part of a batch of 6"):
        PairLoader(cache, 6, seed=0, rank=rank, ranks=ranks)


def test_batches_that_are_kept_stay_as_they_were(Example, tmp_path):  # noqa: N803
    example = Example(caption_counts=(1,) * 12, undecodable=frozenset(), grid=(64, 64), channels=(32, 4))
    cache = example.write(tmp_path / "wide.zarr")
    kept = list(PairLoader(cache, 3, seed=0, placement="stream").batches(0))
    assert kept[0].vision_tokens.nbytes > 1 << 20  # large enough for memory that is used again
    for step, batch in enumerate(kept):
        assert same(batch, cache.read_pairs(batch_indices(12, 3, 0, 0, step)))


def test_streaming_prefetches_as_much_as_the_memory_allows(cache):
    most = PairLoader(cache, 4, seed=0, placement="stream")
    least = PairLoader(cache, 4, seed=0, placement="stream", host_bytes=most.host_bytes - 1)
    assert (
        least.host_bytes
        < most.host_bytes
        == PairLoader(cache, 4, seed=0, placement="stream", host_bytes=most.host_bytes).host_bytes
    )
    assert all(map(same, least.batches(0), most.batches(0)))
    batch = (most.host_bytes - least.host_bytes) * PREFETCH_BATCHES
    with pytest.raises(CacheError, match=r"'stream' takes up to .* of host memory, .* are allowed"):
        PairLoader(cache, 4, seed=0, placement="stream", host_bytes=most.host_bytes - batch - 1)


def test_auto_streams_what_would_take_more_host_memory_than_allowed(cache):
    allowed = PairLoader(cache, 4, seed=0, placement="stream").host_bytes
    assert PairLoader(cache, 4, seed=0, host_bytes=allowed).placement == "host"
    assert choose_placement(cache, torch.device("cpu"), host_bytes=resident_bytes(cache)) == "stream"


def test_auto_keeps_a_small_cache_in_host_memory(cache):
    assert PairLoader(cache, 4, seed=0).placement == "host"


def test_auto_streams_what_does_not_fit_the_host(cache, monkeypatch):
    assert 0 < resident_bytes(cache) < available_host_bytes() / 2
    monkeypatch.setattr("cache.loading.placement.HOST_SHARE", 0.0)
    assert choose_placement(cache, torch.device("cpu")) == "stream"


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
