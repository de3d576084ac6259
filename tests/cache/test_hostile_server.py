"""A server that means harm costs a stated amount of time and of memory, and ends in one line that names it."""

import tracemalloc

import numpy as np
import pytest

from cache import ActivationCache, CacheError
from cache.files.location import DOCUMENT_BYTES

FILES = ["zarr.json", "ledger.parquet", "text/starts/c.0", "vision/tokens/c.0.0.0"]
ATTACKS = [
    "endless",
    "terabyte",
    "gzip",
    "drip",
    "dripping header",
    "silence",
    "another range",
    "no range",
    "more",
    "loop",
    "to a file",
]


@pytest.fixture
def server(RangeServer, path, monkeypatch):  # noqa: N803
    """A web server of a cache; nobody waits for long, or twice."""
    monkeypatch.setattr("cache.files.remote.RETRY_DELAYS", ())
    monkeypatch.setattr("cache.files.http_files.SILENCE", 0.3)
    with RangeServer(path.parent) as server:
        yield server


def read_everything(url):
    with ActivationCache.open(url) as cache:
        cache.read_pairs(np.arange(cache.pairs))
        return cache.statistics, cache.samples


def test_a_server_that_means_well_is_read(server, monkeypatch):
    monkeypatch.setattr("cache.files.http_files.SILENCE", 600)  # a busy machine is no silent server
    assert read_everything(f"{server.url}/copy.zarr")[1].num_rows > 0


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", FILES)
def test_any_attack_in_any_file_is_one_line_and_takes_little_memory(server, name, attack):
    server.fail(f"copy.zarr/{name}", attack)
    tracemalloc.start()
    with pytest.raises(CacheError, match=f"{server.url}/copy.zarr") as raised:
        read_everything(f"{server.url}/copy.zarr")
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    assert taken < 2 * DOCUMENT_BYTES + (8 << 20)


def test_a_table_of_another_size_than_recorded_is_refused_before_it_is_fetched(server, path):
    with (path / "samples.parquet").open("r+b") as file:
        file.truncate(1 << 26)  # a hole, which takes no room
    with ActivationCache.open(f"{server.url}/copy.zarr") as cache:
        server.requests.clear()
        with pytest.raises(CacheError, match=r"samples.parquet: has 67108864 bytes, \d+ were written"):
            _ = cache.samples
    assert server.requests["copy.zarr/samples.parquet"] == 1
