"""A chunk is read only in its place: what is exchanged passes every checksum in its file, and is noticed anyway."""

import dataclasses
import itertools
import shutil
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from cache import ActivationCache, CacheCorruptError
from cache.format.layout import sharded_layouts
from cache.operations import verify

SAME_SHAPES = {
    "caption_counts": (1,) * 8,
    "undecodable": frozenset(),
    "grid": (1, 1),
    "channels": (3, 3),
    "embedding": 3,
}
"""With these the files of several arrays, and of both shards, have the same size."""


@pytest.fixture(scope="module")
def two(Example, tmp_path_factory):  # noqa: N803
    """Two caches of the same shape and of different activations, in the storage dtype that has most arrays."""
    folder = tmp_path_factory.mktemp("two")
    example = Example(storage_dtype="int8", **SAME_SHAPES)
    for seed in range(2):
        dataclasses.replace(example, seed=seed).write(folder / f"{seed}.zarr").close()
    return folder


@pytest.fixture
def caches(two, tmp_path):
    """Copies of both, free to be damaged."""
    return [Path(shutil.copytree(two / f"{seed}.zarr", tmp_path / f"{seed}.zarr")) for seed in range(2)]


def everything(path):
    """All pairs of a cache, and the arrays that they are made from; None if the reader refuses it."""
    try:
        with ActivationCache.open(path) as cache:
            return [*cache.read_pairs(np.arange(cache.pairs)), cache.caption_starts, cache.caption_lengths]
    except CacheCorruptError:
        return None


def is_never_read_wrong(path, whole):
    found = everything(path)
    return found is None or all(map(np.array_equal, found, whole))


def exchange(one, other):
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def chunk_files(path):
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("c.*"))


def test_exchanged_files_of_one_size_are_noticed_within_a_cache(caches):
    path, _ = caches
    whole = everything(path)
    sizes = {name: (path / name).stat().st_size for name in chunk_files(path)}
    by_size = sorted(sizes, key=lambda name: (sizes[name], name))
    alike = [pair for pair in itertools.pairwise(by_size) if sizes[pair[0]] == sizes[pair[1]]]
    assert {"text/starts/c.0", "vision/pooled/c.1.0"} <= set(itertools.chain(*alike))
    for one, other in alike:
        same = (path / one).read_bytes() == (path / other).read_bytes()
        exchange(path / one, path / other)
        found = everything(path)
        assert same or one.startswith("statistics/") or found is None, (one, other)
        assert found is None or all(map(np.array_equal, found, whole)), (one, other)
        exchange(path / one, path / other)


def test_files_of_another_cache_are_noticed(caches):
    path, other = caches
    whole = everything(path)
    names = [name for name in chunk_files(path) if not name.startswith("statistics/")]
    for name in [*names, "samples.parquet", "ledger.parquet"]:
        same = (path / name).read_bytes() == (other / name).read_bytes()
        exchange(path / name, other / name)
        assert is_never_read_wrong(path, whole) and (same or everything(path) is None), name
        exchange(path / name, other / name)


@pytest.fixture
def shard_files(caches):
    """Shard files with several chunks: path of the cache, layout, bytes of a stored chunk."""
    with ActivationCache.open(caches[0]) as cache:
        layouts = sharded_layouts(cache.manifest).values()
    return [
        (caches[0] / layout.shard_file(1), layout, layout.chunk_bytes + 4)
        for layout in layouts
        if (caches[0] / layout.shard_file(1)).stat().st_size > layout.shard_bytes(layout.chunk_rows)
    ]


def test_exchanged_chunks_of_a_shard_are_noticed_and_verify_names_their_pairs(caches, shard_files):
    whole = everything(caches[0])
    assert len(shard_files) >= 3
    for file, layout, stored in shard_files:
        content = file.read_bytes()
        file.write_bytes(content[stored : 2 * stored] + content[:stored] + content[2 * stored :])
        assert everything(caches[0]) is None and is_never_read_wrong(caches[0], whole), layout.name
        (problem,) = verify(caches[0]).problems
        assert problem.shard == 1 and "2 of its chunks belong elsewhere" in problem.problem
        if layout.chunk_rows == 1:
            assert (problem.pairs.first, problem.pairs.last) == (4, 5)
        file.write_bytes(content)


def test_exchanged_entries_of_an_index_are_noticed(caches, shard_files):
    for file, layout, _ in shard_files:
        content = file.read_bytes()
        start = len(content) - layout.index_bytes
        index = bytearray(content[start:-4])
        index[:16], index[16:32] = index[16:32], index[:16]
        checksum = google_crc32c.value(bytes(index)).to_bytes(4, "little")
        file.write_bytes(content[:start] + index + checksum)
        assert everything(caches[0]) is None, layout.name
        assert [problem.shard for problem in verify(caches[0]).problems] == [1]
        file.write_bytes(content)


def test_the_reader_tells_a_chunk_out_of_place_from_a_damaged_one(caches):
    exchange(*(caches[0] / f"vision/tokens/c.{shard}.0.0" for shard in range(2)))
    with (
        ActivationCache.open(caches[0]) as cache,
        pytest.raises(
            CacheCorruptError, match=r"chunk 0 is whole, but not the one that was written there.*concerns 0"
        ),
    ):
        cache.read_pairs(np.arange(cache.pairs))
