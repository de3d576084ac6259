"""The stored values against plain float64 arithmetic, and every reader against the writer."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache import STORAGE_DTYPES, CacheWriter, PairLoader, disk_budget
from cache.format.storage import LARGEST as STORED_LARGEST
from cache.format.storage import StoredRows, as_tensor, clipped, rounded
from cache.loading.resident import resident_bytes
from cache.writing.activations import stored_shard

FLOATS = {"float16": (11, -13), "bfloat16": (8, -125), "float32": (24, -125)}
"""Significant bits, and the exponent below which numbers are subnormal (as `numpy.frexp` counts it)."""

LARGEST = {"float16": 65504.0, "bfloat16": (2 - 2.0**-7) * 2.0**127, "float32": (2 - 2.0**-23) * 2.0**127}

SMALLER = ["bfloat16", "int8"]


def nearest(values, bits, smallest_exponent):
    """float64 values rounded to so many bits, ties to even."""
    unit = np.maximum(np.frexp(values)[1], smallest_exponent) - bits
    return np.ldexp(np.rint(np.ldexp(values, -unit)), unit)


def through(values, dtype):
    """What is read back of `values`, and how many were clipped."""
    kept, overflow = clipped(values, STORED_LARGEST[dtype])
    return StoredRows(as_tensor(rounded(kept, dtype))).decoded().double().numpy(), overflow


def finite(width):
    shapes = array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=6)
    values = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return arrays(f"float{width}", shapes, elements=values)


@pytest.mark.parametrize(
    ("dtype", "width"), [("float16", 32), ("float16", 64), ("bfloat16", 32), ("float32", 64)]
)
@settings(max_examples=40)
@given(st.data())
def test_floats_are_the_nearest_and_those_out_of_range_the_largest(dtype, width, data):
    values = data.draw(finite(width))
    wide, largest = values.astype(np.float64), LARGEST[dtype]
    found, overflow = through(values, dtype)
    np.testing.assert_array_equal(found, nearest(np.clip(wide, -largest, largest), *FLOATS[dtype]))
    assert overflow == (np.abs(wide) > largest).sum()


@pytest.mark.parametrize("dtype", list(FLOATS))
def test_the_largest_value_is_kept_and_the_next_one_clipped(dtype):
    largest = np.array(LARGEST[dtype], np.float64 if dtype == "float32" else np.float32)
    larger = np.nextafter(largest, np.inf)
    found, overflow = through(np.array([largest, larger, -largest, -larger]), dtype)
    assert found.tolist() == [largest, largest, -largest, -largest] and overflow == 2


@pytest.mark.parametrize("dtype", list(FLOATS))
def test_halfway_values_go_to_the_even_neighbour(dtype):
    bits, _ = FLOATS[dtype]
    unit = 2.0 ** (1 - bits)
    found, _ = through(1 + unit * np.array([0.5, 1.5, 2.5]), dtype)
    assert found.tolist() == [1, 1 + 2 * unit, 1 + 2 * unit]


def test_a_read_only_array_is_stored_without_a_warning(recwarn):
    values = np.ones((2, 3), np.float32)
    values.flags.writeable = False
    for dtype in FLOATS:
        assert through(values, dtype)[0].tolist() == values.tolist()
    assert not recwarn.list


@pytest.fixture(scope="module", params=STORAGE_DTYPES)
def written(request, Example, tmp_path_factory):  # noqa: N803
    """An example and its cache, in every storage dtype; every image has a pair."""
    example = dataclasses.replace(
        Example(), storage_dtype=request.param, caption_counts=(1,) * 11, undecodable=frozenset()
    )
    return example, example.write(tmp_path_factory.mktemp("dtypes") / "example.zarr")


def test_the_reader_reads_what_the_writer_stored(written):
    example, cache = written
    shards = [stored_shard(example.shard(k)[0], example.storage_dtype, "none") for k in range(3)]
    batch = cache.read_pairs(np.arange(cache.pairs))
    for side, found in (("vision", batch.vision_tokens), ("text", batch.text_tokens)):
        stored = torch.cat([shard.tokens(side).decoded() for shard in shards])
        assert torch.equal(found, stored)
        given_ = np.concatenate([getattr(example.shard(k)[0], f"{side}_tokens") for k in range(3)])
        error = np.abs(stored.numpy() - given_).max()
        assert error <= {"float16": 5e-3, "bfloat16": 4e-2, "float32": 0, "int8": 4e-2}[example.storage_dtype]


@pytest.mark.parametrize("placement", ["host", "stream", "device"])
def test_every_placement_decodes_to_the_same_bits(written, placement):
    _, cache = written
    loader = PairLoader(cache, 4, seed=0, placement=placement)
    for step, batch in enumerate(loader.batches(0)):
        expected = cache.read_pairs(batch.pair.numpy())
        assert all(map(torch.equal, batch, expected)), step


def test_resident_bytes_are_those_of_the_arrays_in_memory(written):
    _, cache = written
    resident = PairLoader(cache, 1, seed=0, placement="host")._read.__self__
    assert sum(tensor.nbytes for tensor in tensors(vars(resident).values())) == resident_bytes(cache)


def tensors(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from tensors(value)


def test_a_cache_takes_no_more_than_its_budget(written):
    example, cache = written
    files = {
        side: sum(f.stat().st_size for f in cache.path.glob(f"{side}/*/c.*")) for side in ("vision", "text")
    }
    budget = disk_budget(example.manifest, cache.text_tokens)
    assert files["vision"] == budget.vision
    assert 0 < files["text"] <= budget.text


def test_statistics_are_those_of_the_decoded_values(written):
    _, cache = written
    batch = cache.read_pairs(np.arange(cache.pairs))
    for side, tokens in (("vision", batch.vision_tokens.flatten(0, 1)), ("text", batch.text_tokens)):
        statistics, values = cache.statistics[side], tokens.double().numpy()
        assert statistics.count == len(values)
        np.testing.assert_allclose(statistics.mean, values.mean(0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(statistics.variance, values.var(0), rtol=1e-12)


@pytest.mark.parametrize("dtype", SMALLER)
def test_an_interrupted_cache_is_resumed_to_the_same_bytes(Example, tmp_path, dtype):  # noqa: N803
    example = Example(storage_dtype=dtype)
    example.write(tmp_path / "whole.zarr")
    with CacheWriter.open(tmp_path / "resumed.zarr", example.manifest) as writer:
        writer.write_shard(2, *example.shard(2))
    example.write(tmp_path / "resumed.zarr")
    assert contents(tmp_path / "resumed.zarr") == contents(tmp_path / "whole.zarr")


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("dtype", SMALLER)
def test_skipped_images_are_zeros(Example, tmp_path, dtype):  # noqa: N803
    example = Example(storage_dtype=dtype)
    cache = example.write(tmp_path / "example.zarr")
    for values in cache.read_stored("vision/tokens", np.array(sorted(example.undecodable))).decoded():
        assert not values.any()


def test_pooled_embeddings_of_int8_caches_are_clipped_and_counted_as_float16(Example, tmp_path):  # noqa: N803
    example = Example(storage_dtype="int8")
    with CacheWriter.open(tmp_path / "example.zarr", example.manifest) as writer:
        activations, samples = example.shard(0)
        activations.vision_pooled[0] = [7e4, -7e4, 1]
        activations.vision_tokens[0, 0, 0] = 1e38
        writer.write_shard(0, activations, samples)
        cache = example.write_into(writer)
    assert cache.read_stored("vision/pooled", np.array([0])).decoded().tolist() == [[65504, -65504, 1]]
    assert cache.statistics["vision"].overflow == 3
    assert np.isfinite(cache.statistics["vision"].mean).all()
