"""A cache is read in place behind a URL: to the same numbers, with the same checks, and with errors that say where."""

import shutil
import socket

import fsspec
import numpy as np
import pytest
import torch

from cache import (
    ActivationCache,
    CacheCorruptError,
    CacheIdentityError,
    CacheIncompleteError,
    CacheMissingError,
    CacheRemoteError,
    CacheWriter,
    PairLoader,
)

VISION = "copy.zarr/vision/tokens/c.1.0.0"


@pytest.fixture
def server(RangeServer, path, monkeypatch):  # noqa: N803
    """A web server of a cache that is free to be damaged; nobody waits before asking again."""
    monkeypatch.setattr("cache.files.remote.RETRY_DELAYS", (0.0, 0.0))
    with RangeServer(path.parent) as server:
        yield server


@pytest.fixture
def remote(server):
    """That cache, opened behind its URL."""
    with ActivationCache.open(f"{server.url}/copy.zarr") as opened:
        yield opened


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_pairs_samples_and_statistics_are_those_on_disk(remote, cache):
    pairs = np.random.default_rng(0).permutation(cache.pairs)
    assert same(remote.read_pairs(pairs), cache.read_pairs(pairs))
    assert remote.samples.equals(cache.samples)
    assert remote.manifest == cache.manifest
    assert np.array_equal(remote.statistics["vision"].mean, cache.statistics["vision"].mean)


@pytest.mark.parametrize("placement", ["stream", "host"])
def test_batches_are_those_on_disk(remote, cache, placement):
    ours, theirs = (PairLoader(c, 4, seed=3, placement=placement).batches(1) for c in (remote, cache))
    assert all(map(same, ours, theirs))


def test_every_file_system_that_fsspec_knows_will_do(cache):
    fsspec.filesystem("memory").put(str(cache.path), "/example.zarr", recursive=True)
    with ActivationCache.open("memory://example.zarr") as remote:
        assert same(remote.read_pairs(np.arange(cache.pairs)), cache.read_pairs(np.arange(cache.pairs)))


def test_a_file_url_is_a_path(cache):
    assert ActivationCache.open(f"file://{cache.path}").path == cache.path


def test_chunks_that_lie_together_are_one_request(remote, server):
    remote.read_rows("vision/tokens", range(0, 11))
    remote.read_rows("vision/tokens", range(0, 11))
    index, chunks = 1, 2
    assert [server.requests[f"copy.zarr/vision/tokens/c.{shard}.0.0"] for shard in range(1, 3)] == [
        index + chunks
    ] * 2


def test_the_path_of_a_remote_cache_is_refused(remote, server):
    with pytest.raises(CacheRemoteError, match=f"{server.url}/copy.zarr: this takes a cache on disk"):
        _ = remote.path


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("stop", "the connection failed 3 times"),
        ("hang up", "the connection failed 3 times"),
        ("status 500", "the server answers 500"),
    ],
)
def test_a_server_that_fails_while_reading_is_named_with_url_and_shard(remote, server, failure, message):
    server.fail(VISION, failure)
    with pytest.raises(CacheRemoteError, match=rf"{server.url}/{VISION}: .*{message}.*vision/tokens shard 1"):
        remote.read_pairs(np.arange(13))
    if failure == "status 500":
        assert server.requests[VISION] == 1
    else:
        assert server.requests[VISION] >= 3


@pytest.mark.parametrize("failure", ["stop", "hang up"])
def test_a_connection_that_fails_twice_is_tried_again(remote, server, cache, failure):
    server.fail(VISION, failure, times=2)
    assert same(remote.read_pairs(np.arange(13)), cache.read_pairs(np.arange(13)))


def test_errors_of_a_server_reach_whoever_draws_batches(remote, server):
    server.fail(VISION, "stop")
    with pytest.raises(CacheRemoteError, match="vision/tokens shard 1"):
        list(PairLoader(remote, 4, seed=0, placement="stream").batches(0))


@pytest.mark.parametrize("name", ["zarr.json", "samples.parquet", "ledger.parquet", "text/lengths/c.0"])
def test_a_server_that_stops_within_any_file_is_named(server, name):
    server.fail(f"copy.zarr/{name}", "stop")
    with pytest.raises(CacheRemoteError, match=f"{server.url}/copy.zarr/{name}: cannot be read"):
        ActivationCache.open(f"{server.url}/copy.zarr").read_pairs(np.arange(1))


def test_an_answer_with_too_few_bytes_is_damage(remote, server):
    remote.read_stored("vision/tokens", np.array([4]))
    server.fail(VISION, "short")
    with pytest.raises(CacheCorruptError, match=r"vision/tokens shard 1 .*truncated in chunk 1"):
        remote.read_stored("vision/tokens", np.array([5]))


def test_a_server_without_byte_ranges_is_refused_before_it_sends_whole_shards(server):
    server.ranges = False
    remote = ActivationCache.open(f"{server.url}/copy.zarr")
    assert remote.statistics["vision"].count > 0
    with pytest.raises(
        CacheRemoteError, match=r"ignores byte ranges .* serve the folder with one that supports"
    ):
        remote.read_stored("vision/tokens", np.array([4]))


def test_a_server_that_stops_honouring_byte_ranges_is_named(remote, server):
    remote.read_rows("vision/tokens", range(4, 5))
    server.ranges = False
    with pytest.raises(CacheRemoteError, match=f"{server.url}/{VISION}: .*ignores byte ranges"):
        remote.read_rows("vision/tokens", range(5, 6))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vision/tokens/c.1.0.0", "vision/tokens shard 1 .*concerns 6, 7"),
        ("text/lengths/c.0", "text/lengths/c.0: truncated or fails its CRC32C"),
        ("samples.parquet", "samples.parquet: its BLAKE3 differs"),
    ],
)
def test_a_flipped_bit_is_found(server, path, name, message):
    content = bytearray((path / name).read_bytes())
    content[70] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CacheCorruptError, match=message):
        ActivationCache.open(f"{server.url}/copy.zarr").read_pairs(np.arange(13))


@pytest.mark.parametrize("damage", ["missing", "truncated"])
@pytest.mark.parametrize("shard", [0, 2])
def test_a_missing_or_truncated_shard_never_reads_as_zeros(server, path, damage, shard):
    file = path / f"vision/tokens/c.{shard}.0.0"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:90])
    with pytest.raises(CacheCorruptError, match=f"shard {shard}"):
        ActivationCache.open(f"{server.url}/copy.zarr").read_stored("vision/tokens", np.arange(11))


def test_nothing_at_a_url_is_a_missing_cache(server):
    with pytest.raises(CacheMissingError, match=f"{server.url}/other.zarr: there is no cache"):
        ActivationCache.open(f"{server.url}/other.zarr")


def test_nobody_at_a_url_is_named(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/copy.zarr"
        with pytest.raises(CacheRemoteError, match=f"{url}/zarr.json: cannot be read: the connection failed"):
            ActivationCache.open(url)


def test_an_unknown_kind_of_url_is_named():
    with pytest.raises(CacheRemoteError, match=r"gopher://host/a.zarr: cannot be read from here"):
        ActivationCache.open("gopher://host/a.zarr")


def test_another_backbone_is_refused(server):
    with pytest.raises(CacheIdentityError, match=f"{server.url}/copy.zarr"):
        ActivationCache.open(f"{server.url}/copy.zarr", {"model": "another"})


def test_an_unfinished_cache_is_refused(server, path, example):
    shutil.rmtree(path)
    CacheWriter.open(path, example.manifest)
    with pytest.raises(CacheIncompleteError, match="not all of the 3 shards are committed"):
        ActivationCache.open(f"{server.url}/copy.zarr")
