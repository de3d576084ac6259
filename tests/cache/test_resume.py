import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from cache import ActivationCache, CacheFormatError, CacheIncompleteError, CacheWriter
from cache.operations import cache_info, verify

RUNS = 8


def contents(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("killed_writer.py")
    processes = str(Path(__file__).parents[1] / "processes")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([processes, *sys.path])}
    done = subprocess.run(
        [sys.executable, script, folder, str(RUNS)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return folder, json.loads(done.stdout)


def test_the_writer_was_killed_in_all_it_does(killed):
    _, told = killed
    under_way = Counter(told["kills"])
    assert under_way.keys() == {"write", "finish", "reopen"}
    assert under_way.total() >= 1.5 * RUNS


def test_a_reopened_cache_finishes_to_the_bytes_of_one_written_once(killed, cache):
    folder, _ = killed
    assert contents(folder / "whole.zarr") == contents(cache.path)


@pytest.mark.parametrize("run", range(RUNS))
def test_a_killed_and_resumed_cache_is_byte_identical_to_an_uninterrupted_one(killed, cache, run):
    folder, _ = killed
    found, whole = contents(folder / f"{run}.zarr"), contents(cache.path)
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name] != whole[name]] == []


def test_a_second_writer_is_refused_while_the_first_lives_and_not_after_kill_9(killed):
    folder, told = killed
    lock = told["lock"]
    assert lock["told"].startswith(
        f"{folder / 'locked.zarr'}: process {lock['first']} is writing this cache; wait"
    )
    assert lock["missing"] == [1, 2]


@pytest.fixture
def unfinished(example, tmp_path):
    """A cache of which shards 0 and 2 are committed."""
    with CacheWriter.open(tmp_path / "unfinished.zarr", example.manifest) as writer:
        for shard in (2, 0):
            writer.write_shard(shard, *example.shard(shard))
    return writer.path


def test_the_order_in_which_shards_are_written_leaves_no_trace(example, path, tmp_path):
    writer = CacheWriter.open(tmp_path / "backwards.zarr", example.manifest)
    for shard in reversed(writer.missing_shards):
        writer.write_shard(shard, *example.shard(shard))
    writer.finish()
    assert contents(writer.path) == contents(path)


def test_an_unfinished_cache_is_not_opened(unfinished):
    with pytest.raises(CacheIncompleteError, match=r"2 of 3 shards are committed; .*again"):
        ActivationCache.open(unfinished)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "ledger/000000.json").unlink(),
        lambda path: (path / "ledger/000000.json").write_text('{"shard": 0'),
        lambda path: (path / "vision/tokens/c.0.0.0").unlink(),
        lambda path: (path / "text/pooled/c.0.0").write_bytes(b"short"),
        lambda path: (path / "ledger/000000.samples.parquet").unlink(),
        lambda path: flip_a_byte(path / "ledger/000000.samples.parquet"),
        lambda path: flip_a_byte(path / "vision/tokens/c.0.0.0"),
        lambda path: shutil.copyfile(path / "text/pooled/c.2.0", path / "text/pooled/c.0.0"),
        lambda path: (path / "ledger/000002.json").replace(path / "ledger/000000.json"),
        lambda path: (path / "ledger/000000.json").write_text(
            (path / "ledger/000000.json").read_text().replace('"manifest_sha256": "', '"manifest_sha256": "x')
        ),
    ],
)
def test_a_shard_without_a_matching_record_is_written_again(example, unfinished, path, damage):
    damage(unfinished)
    with warnings.catch_warnings(record=True) as told:
        writer = CacheWriter.open(unfinished, example.manifest)
    assert [str(warning.message)[-24:] for warning in told] in ([], ["shard 0 is written again"])
    assert writer.missing_shards[:2] == [0, 1]
    example.write_into(writer)
    assert contents(unfinished) == contents(path)


def test_strays_are_deleted_and_foreign_files_are_not(example, unfinished):
    strays = ["vision/tokens/c.1.0.0", "vision/tokens/c.1.0.0.0a1b.partial", "ledger/000001.samples.parquet"]
    for name in strays:
        (unfinished / name).write_bytes(b"half a shard")
    (unfinished / "README").write_text("mine")
    CacheWriter.open(unfinished, example.manifest).close()
    assert not any((unfinished / name).exists() for name in strays)
    assert (unfinished / "README").exists()


def test_what_a_writer_killed_after_its_last_step_leaves_is_deleted(example, unfinished, path):
    before = contents(path)
    shutil.copytree(unfinished / "ledger", path / "ledger")
    (path / "statistics/vision/c.0.partial").write_bytes(b"half a file")
    CacheWriter.open(path, example.manifest).close()
    assert contents(path) == before


def test_a_creation_that_stopped_at_its_first_file_is_resumed(example, tmp_path):
    (tmp_path / "new.zarr").mkdir()
    (tmp_path / "new.zarr/zarr.json.partial").write_text("{")
    assert example.write(tmp_path / "new.zarr").pairs == 13


UNFINISHED = [
    ("ledger/000000.json", 12),
    ("ledger/000002.samples.parquet", 3),
    ("zarr.json", 3),
    ("vision/tokens/zarr.json", 1),
    ("vision/zarr.json", 1),
    ("vision/tokens/c.0.0.0", 2),
    ("text/pooled/c.2.0", 1),
    ("text/token_ids/c.0", 1),
]
"""One of each kind of file, and how many of its bytes are changed, one at a time."""


@pytest.mark.parametrize(("name", "flips"), UNFINISHED)
def test_a_changed_byte_of_an_unfinished_cache_is_told_or_has_no_effect(
    example, unfinished, path, name, flips
):
    whole, rng = contents(path), random.Random(name)
    with CacheWriter.open(unfinished, example.manifest) as writer:
        writer.write_shard(1, *example.shard(1))
    for flip in range(flips):
        copy = Path(shutil.copytree(unfinished, unfinished.with_name(f"{flip}.zarr")))
        content = bytearray((copy / name).read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(7)
        (copy / name).write_bytes(content)
        told = {problem.file for problem in verify(copy).problems}
        with warnings.catch_warnings(record=True) as warned:
            try:
                example.write_into(CacheWriter.open(copy, example.manifest)).close()
            except CacheFormatError:
                assert name in ("zarr.json",) and told == {name}
                continue
        assert contents(copy) == whole
        if ("ledger/" in name or "/c." in name) and content != (unfinished / name).read_bytes():
            assert told == {name} and len(warned) == 1


def test_a_changed_digit_of_a_record_costs_its_shard_and_no_statistics(example, unfinished, path):
    record = unfinished / "ledger/000000.json"
    text = record.read_text()
    place = text.index('"mean": [') + len('"mean": [') + 4
    record.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    assert [problem.shard for problem in verify(unfinished).problems] == [0]
    assert cache_info(unfinished).committed == 1
    with pytest.warns(UserWarning, match=r"ledger/000000.json: is not the record .*shard 0 is written again"):
        writer = CacheWriter.open(unfinished, example.manifest)
    assert writer.missing_shards == [0, 1]
    example.write_into(writer)
    assert contents(unfinished) == contents(path)
