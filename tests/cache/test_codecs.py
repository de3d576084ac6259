"""Whatever codec makes the tokens smaller, a cache is written, read, checked, resumed and derived in the same way."""

import shutil

import google_crc32c
import numpy as np
import pytest
import torch

from cache import ActivationCache, CacheCorruptError, CacheFormatError, CacheWriter, Manifest, PairLoader
from cache.format.codecs import CODECS, KEPT_BITS, largest_encoded
from cache.format.layout import sharded_layouts
from cache.format.shard_index import chunk_offsets, shard_index
from cache.format.storage_options import CODEC_DTYPES
from cache.operations import convert, locked, merge, repair_records, subset, verify
from cache.operations.selection import Selection

FORMS = [("zstd", "float16"), ("zstd", "int8"), ("pcodec", "bfloat16"), ("bitround", "float32")]


@pytest.fixture(scope="module", params=FORMS, ids="-".join)
def coded_example(request, Example):  # noqa: N803
    codec, dtype = request.param
    return Example(codec=codec, storage_dtype=dtype)


@pytest.fixture(scope="module")
def coded(coded_example, tmp_path_factory):
    """The example's cache with a codec, not to be changed."""
    return coded_example.write(tmp_path_factory.mktemp("coded") / "example.zarr")


@pytest.fixture(scope="module")
def plain(coded_example, Example, tmp_path_factory):  # noqa: N803
    """The same values without a codec, those that bit-rounding loses included."""
    return Example(storage_dtype=coded_example.storage_dtype).write(
        tmp_path_factory.mktemp("plain") / "example.zarr"
    )


@pytest.fixture
def damaged(coded, tmp_path):
    """A copy of the cache with a codec, free to be damaged."""
    path = shutil.copytree(coded.path, tmp_path / "example.zarr")
    return path


def expected(coded, plain, pairs):
    batch = plain.read_pairs(pairs)
    if coded.manifest.codec != "bitround":
        return batch
    rounded = {
        name: torch.from_numpy(CODECS["bitround"].rounded(getattr(batch, name).numpy()))
        for name in ("vision_tokens", "text_tokens")
    }
    return batch._replace(**rounded)


def same(left, right):
    return all(map(torch.equal, left, right))


def test_every_way_to_read_gives_the_values_that_were_stored(coded, plain, RangeServer):  # noqa: N803
    pairs = np.random.default_rng(0).permutation(coded.pairs)
    values = expected(coded, plain, pairs)
    assert same(coded.read_pairs(pairs), values)
    with (
        RangeServer(coded.path.parent) as server,
        ActivationCache.open(f"{server.url}/example.zarr") as remote,
    ):
        assert same(remote.read_pairs(pairs), values)
    for placement in ("stream", "host", "device"):
        batch = next(PairLoader(coded, len(pairs), seed=1, placement=placement).batches(0))
        assert same(batch, expected(coded, plain, batch.pair.numpy()))


def test_statistics_are_those_of_the_values_that_readers_get(coded):
    tokens = coded.read_pairs(np.arange(coded.pairs)).text_tokens.double()
    np.testing.assert_allclose(coded.statistics["text"].mean, tokens.mean(0), rtol=1e-12, atol=1e-12)


def test_a_cache_written_in_two_attempts_is_the_same_to_the_byte(coded, coded_example, tmp_path):
    with CacheWriter.open(tmp_path / "example.zarr", coded_example.manifest) as writer:
        writer.write_shard(1, *coded_example.shard(1))
    coded_example.write(tmp_path / "example.zarr")
    files = {
        file.relative_to(coded.path): file.read_bytes() for file in coded.path.rglob("*") if file.is_file()
    }
    assert files == {name: (tmp_path / "example.zarr" / name).read_bytes() for name in files}


def test_a_flipped_bit_is_found_in_its_chunk_and_repaired(coded, coded_example, damaged):
    assert verify(damaged).sound
    file = damaged / "vision/tokens/c.1.0.0"
    content = bytearray(file.read_bytes())
    index = content[-sharded_layouts(coded.manifest)["vision/tokens"].index_bytes :]
    first, second, *_ = chunk_offsets(bytes(index), sharded_layouts(coded.manifest)["vision/tokens"]).tolist()
    content[(first + second) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CacheCorruptError, match=r"vision/tokens shard 1 .*chunk 0 fails its CRC32C"):
        ActivationCache.open(damaged).read_stored("vision/tokens", np.arange(4, 8))
    (problem,) = verify(damaged).problems
    assert problem.problem == "fails the CRC32C of 1 of its chunks"
    (damaged / "ledger.parquet").unlink()
    with locked(damaged) as lock:
        lost = repair_records(damaged, verify(damaged), lambda: coded_example.manifest)
        assert lost == [1]
        with CacheWriter.reopen(damaged, lost, lock) as writer:
            coded_example.write_into(writer).close()
    assert verify(damaged).sound
    assert file.read_bytes() == (coded.path / "vision/tokens/c.1.0.0").read_bytes()


def test_caches_derived_from_it_have_its_codec_and_its_values(coded, tmp_path):
    border = int(np.flatnonzero(np.diff(coded.pair_images))[1]) + 1
    parts = [np.arange(border), np.arange(border, coded.pairs)]
    halves = [
        subset(coded, tmp_path / f"{number}.zarr", Selection(pairs, {"pairs": number}))
        for number, pairs in enumerate(parts)
    ]
    merged = merge(halves, tmp_path / "merged.zarr")
    assert {derived.manifest.codec for derived in (*halves, merged)} == {coded.manifest.codec}
    assert merged.pairs == coded.pairs and verify(merged.path).sound
    if coded.manifest.storage_dtype != "int8":
        ours, theirs = (cache.read_pairs(np.arange(cache.pairs)) for cache in (merged, coded))
        assert same(ours, theirs)


@pytest.mark.parametrize(("codec", "dtype"), [(codec, dtypes[0]) for codec, dtypes in CODEC_DTYPES.items()])
def test_a_cache_is_converted_to_every_codec_and_back(cache, tmp_path, codec, dtype):
    there = convert(cache, tmp_path / "there.zarr", dtype, codec)
    back = convert(there, tmp_path / "back.zarr", codec="none")
    pairs = np.arange(cache.pairs)
    assert same(back.read_pairs(pairs), there.read_pairs(pairs))
    assert same(there.read_pairs(pairs), cache.read_pairs(pairs)) == (codec != "bitround")
    assert there.manifest.dataset["derived"]["from"][0].get("codec") is None
    assert back.manifest.dataset["derived"]["from"][0].get("codec", "none") == codec


def test_without_a_codec_the_manifest_is_the_one_of_caches_that_know_of_none(example):
    assert "codec" not in example.manifest.to_json()
    assert Manifest.from_json(example.manifest.to_json(), "") == example.manifest


def test_a_codec_that_does_not_take_the_dtype_is_refused_with_those_that_do(example):
    with pytest.raises(
        CacheFormatError,
        match="file: manifest: codec 'pcodec' does not take int8; codecs that do are none, zstd",
    ):
        Manifest.from_json({**example.manifest.to_json(), "storage_dtype": "int8", "codec": "pcodec"}, "file")
    with pytest.raises(CacheFormatError, match=r"manifest: codec: .*found 'gzip'"):
        Manifest.from_json({**example.manifest.to_json(), "codec": "gzip"}, "file")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_bit_rounding_keeps_seven_significant_bits_and_makes_nothing_infinite(dtype):
    codec, limit = CODECS["bitround"], float(np.finfo(dtype).max)
    largest = codec.largest(limit)
    values = np.float64(largest) * 2.0 ** -np.arange(0, 12, 0.01)
    values = np.concatenate([values, -values]).astype(dtype)
    rounded = codec.rounded(values).astype(np.float64)
    assert np.isfinite(rounded).all()
    assert np.abs(rounded / values.astype(np.float64) - 1).max() <= 2.0 ** -(KEPT_BITS + 1)
    assert codec.rounded(np.array([largest], dtype))[0] == largest
    assert largest > 0.99 * limit


@pytest.mark.parametrize("codec", ["zstd", "pcodec"])
def test_noise_becomes_no_larger_than_the_format_allows(codec):
    rng = np.random.default_rng(0)
    for values in (1, 30, 128, 25_000, 300_000):
        chunk = rng.integers(0, 256, 2 * values, np.uint8)
        assert len(CODECS[codec].encode(chunk, np.dtype("<u2"))) <= largest_encoded(len(chunk))


@pytest.mark.parametrize("payload", [b"x" * 40, b"", b"\x28\xb5\x2f\xfd" + b"\xff" * 30])
def test_what_cannot_be_decoded_is_damage_although_its_checksums_are_right(Example, tmp_path, payload):  # noqa: N803
    from cache.files.open_files import OpenFiles
    from cache.reading.checksums import ChunkChecksums
    from cache.reading.sharded_array import ShardedArray

    layout = sharded_layouts(Example(codec="zstd").manifest)["vision/tokens"]
    checksum = google_crc32c.value(payload).to_bytes(4, "little")
    stored = payload + checksum
    file = tmp_path / layout.shard_file(0)
    file.parent.mkdir(parents=True)
    file.write_bytes(stored + shard_index(layout, np.array([0, len(stored)])))
    array = ShardedArray(
        OpenFiles(tmp_path), layout, ChunkChecksums(lambda: {layout.shard_file(0): checksum})
    )
    with pytest.raises(CacheCorruptError, match=r"cannot be decoded|of another size than theirs"):
        array.read_rows(np.array([0]))


@pytest.mark.parametrize("length", [0, 4, 2**40, 2**63])
def test_an_index_with_impossible_lengths_is_refused_before_anything_is_allocated(Example, length):  # noqa: N803
    layout = sharded_layouts(Example(codec="zstd").manifest)["vision/tokens"]
    entries = np.full((layout.shard_chunks, 2), 2**64 - 1, "<u8")
    entries[0] = 0, length
    index = entries.tobytes()
    index += google_crc32c.value(index).to_bytes(4, "little")
    with pytest.raises(ValueError, match="of another size than theirs"):
        chunk_offsets(index, layout)
