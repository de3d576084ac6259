import json

import numpy as np
import pytest

from cache import (
    ActivationCache,
    CacheCorruptError,
    CacheIncompleteError,
    CacheMissingError,
    CacheVersionError,
    CacheWriter,
    clear_cache,
)
from cache.operations import cache_info, verify


def contents(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@pytest.mark.parametrize("bad", [[], [0], [1, 2], [0, 1, 2]])
def test_a_reopened_cache_misses_exactly_the_bad_shards_and_ends_as_it_was(example, path, bad):
    before = contents(path)
    writer = CacheWriter.reopen(path, bad)
    assert writer.missing_shards == bad
    with pytest.raises(CacheIncompleteError, match=f"{3 - len(bad)} of 3 shards are committed"):
        ActivationCache.open(path)
    example.write_into(writer)
    assert contents(path) == before


def test_a_reopened_cache_that_was_closed_is_resumed_by_the_ordinary_way(example, path):
    before = contents(path)
    CacheWriter.reopen(path, [1]).close()
    with CacheWriter.open(path, example.manifest) as writer:
        assert writer.missing_shards == [1]
        example.write_into(writer)
    assert contents(path) == before


@pytest.mark.parametrize(
    "file", ["vision/tokens/zarr.json", "text/zarr.json", "text/starts/c.0", "statistics/text/mean/zarr.json"]
)
def test_what_follows_from_the_shards_is_made_anew_without_encoding(path, file):
    before = contents(path)
    (path / file).write_bytes(b"{")
    CacheWriter.reopen(path, []).finish()
    assert contents(path) == before


@pytest.mark.parametrize("file", ["samples.parquet", "ledger.parquet"])
def test_shards_are_not_kept_without_their_samples_and_ledger(example, path, file):
    before = contents(path)
    (path / file).write_bytes(before[file][:-1])
    with pytest.raises(CacheCorruptError, match=file):
        CacheWriter.reopen(path, [0])
    with CacheWriter.open(path, example.manifest) as writer:
        assert writer.complete, "and stays complete"
    example.write_into(CacheWriter.reopen(path, [0, 1, 2]))
    assert contents(path) == before


def test_reopening_an_incomplete_cache_drops_its_bad_shards(example, path):
    before = contents(path)
    CacheWriter.reopen(path, [1]).close()
    writer = CacheWriter.reopen(path, [2])
    assert writer.missing_shards == [1, 2]
    example.write_into(writer)
    assert contents(path) == before


def test_a_shard_that_does_not_exist_is_refused_and_nothing_changed(path):
    before = contents(path)
    with pytest.raises(IndexError, match=r"has shards 0 to 2, not \[3\]"):
        CacheWriter.reopen(path, [1, 3])
    assert contents(path) == before


def test_there_must_be_a_cache_to_reopen_or_to_clear(tmp_path):
    with pytest.raises(CacheMissingError):
        CacheWriter.reopen(tmp_path / "absent.zarr", [])
    with pytest.raises(CacheMissingError):
        clear_cache(tmp_path / "absent.zarr")


def test_files_shared_with_another_folder_by_hard_links_are_never_changed(example, path, tmp_path):
    """As DVC shares them with its own cache, read-only."""
    linked = tmp_path / "linked"
    for file in [file for file in path.rglob("*") if file.is_file()]:
        (linked / file.relative_to(path)).parent.mkdir(parents=True, exist_ok=True)
        (linked / file.relative_to(path)).hardlink_to(file)
        file.chmod(0o444)
    before = contents(linked)
    other = example.image(0)[0] + 1
    writer = CacheWriter.reopen(path, [0])
    activations, samples = example.shard(0)
    tokens = activations.vision_tokens.copy()
    tokens[0] = other
    writer.write_shard(0, activations._replace(vision_tokens=tokens), samples)
    assert (
        writer.finish().read_stored("vision/tokens", np.array([0])).decoded()[0].numpy()
        == other.astype(np.float16)
    ).all()
    assert contents(linked) == before


def test_a_cleared_cache_leaves_an_empty_folder(example, path):
    clear_cache(path)
    assert list(path.iterdir()) == []
    assert example.write(path).pairs == 13


@pytest.mark.parametrize("finished", [True, False])
def test_a_cache_of_an_earlier_version_is_refused_by_all_but_what_clears_it(example, path, finished):
    if not finished:
        CacheWriter.reopen(path, [1]).close()
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["version"] = document["attributes"]["manifest"]["version"] = 1
    (path / "zarr.json").write_text(json.dumps(document))
    message = r"format version 1, and this software reads version 2; encode it again"
    for use in (
        ActivationCache.open,
        verify,
        cache_info,
        lambda path: CacheWriter.open(path, example.manifest),
    ):
        with pytest.raises(CacheVersionError, match=message):
            use(path)
    clear_cache(path)
    assert example.write(path).pairs == 13
