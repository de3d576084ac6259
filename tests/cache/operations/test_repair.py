"""A damaged cache becomes, byte for byte, the one that was written, and no more shards are written than were lost."""

import dataclasses
import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cache import CacheFormatError, CacheIdentityError, CacheLockedError, CacheWriter, DiskSpaceError
from cache.operations import locked, repair_records, verify

TESTS = Path(__file__).parents[2]
KILLED_RUNS = 5

FOLLOWING = [
    "zarr.json",
    "ledger.parquet",
    "text/zarr.json",
    "text/starts/zarr.json",
    "text/lengths/c.0",
    "vision/tokens/zarr.json",
    "statistics/vision/zarr.json",
    "statistics/text/norm_quantiles/c.0",
    "statistics/vision/position_mean/c.0.0",
]
"""One of each kind of file that belongs to no shard and that they all imply."""


@pytest.fixture
def repair(example):
    """A function that repairs a cache as the command does, with shards of the example; gives those written again."""

    def of(path):
        with locked(path) as lock:
            lost = repair_records(path, verify(path), lambda: example.manifest)
            with CacheWriter.reopen(path, lost, lock) as writer:
                written = writer.missing_shards
                assert set(lost) <= set(written)
                for shard in written:
                    writer.write_shard(shard, *example.shard(shard))
                writer.finish().close()
        return written

    return of


def test_a_flipped_byte_in_any_kind_of_file_costs_at_most_its_own_shard(
    path, repair, digests, flip, shard_of
):
    whole, rng = digests(path), random.Random(0)
    for name in whole:
        if (
            name != "samples.parquet"
            and shard_of(name) in (None, 1)
            and "/mean" not in name
            and "/quantile" not in name
        ):
            flip(path / name, rng)
            assert repair(path) == ([] if shard_of(name) is None else [1]), name
            assert digests(path) == whole, name


def test_of_damaged_samples_the_shards_whose_rows_are_whole_are_kept(path, repair, digests):
    whole = digests(path)
    content = (path / "samples.parquet").read_bytes()
    position = content.index(b"caption 0 of 5")
    (path / "samples.parquet").write_bytes(content[:position] + b"C" + content[position + 1 :])
    assert repair(path) == [1]
    assert digests(path) == whole


@pytest.mark.parametrize("name", ["samples.parquet", "vision/tokens", "text"])
def test_what_is_deleted_comes_back(path, repair, digests, name):
    whole = digests(path)
    (path / name).rename(path.parent / "gone")
    assert repair(path) == [0, 1, 2]
    assert digests(path) == whole


@pytest.mark.parametrize(
    "name", ["zarr.json", "ledger.parquet", "statistics", "text/starts/c.0", "vision/zarr.json"]
)
def test_what_follows_from_the_shards_comes_back_without_them(path, repair, digests, name):
    whole = digests(path)
    (path / name).rename(path.parent / "gone")
    assert repair(path) == []
    assert digests(path) == whole


def test_damage_in_several_places_is_repaired_at_once(path, repair, digests, flip):
    whole, rng = digests(path), random.Random(1)
    for name in ("zarr.json", "vision/tokens/c.2.0.0", "text/pooled/c.0.0", "statistics/vision/mean/c.0"):
        flip(path / name, rng)
    assert repair(path) == [0, 2]
    assert digests(path) == whole


def test_the_ledger_of_clipped_values_comes_back(Example, tmp_path, digests):  # noqa: N803
    example = Example()
    with CacheWriter.open(tmp_path / "c.zarr", example.manifest) as writer:
        for shard in writer.missing_shards:
            activations, samples = example.shard(shard)
            activations.vision_tokens[0, :2, 0] = -1e6
            activations.text_pooled[0] = 1e6
            writer.write_shard(shard, activations, samples)
        cache = writer.finish()
    assert cache.statistics["vision"].overflow == 6
    whole = digests(cache.path)
    (cache.path / "ledger.parquet").write_bytes(b"")
    assert repair_records(cache.path, verify(cache.path), lambda: example.manifest) == []
    CacheWriter.reopen(cache.path, []).finish().close()
    assert digests(cache.path) == whole


def test_what_an_interrupted_finish_left_behind_goes_and_foreign_files_stay(path, repair, digests):
    (path / "notes.txt").write_text("mine")
    whole = digests(path)
    (path / "vision/tokens/c.9.0.0").write_bytes(b"left over")
    (path / "samples.parquet.partial").write_bytes(b"left over")
    assert repair(path) == []
    assert digests(path) == whole


def test_shards_of_another_source_are_refused_with_both_values_and_nothing_is_changed(
    path, example, digests, flip
):
    flip(path / "vision/tokens/c.0.0.0", random.Random(2))
    before = digests(path)
    other = dataclasses.replace(example, backbone={**example.backbone, "layer": 7})
    with pytest.raises(CacheIdentityError, match=r'backbone\.layer: the cache has "last", expected 7'):
        repair_records(path, verify(path), lambda: other.manifest)
    assert digests(path) == before


def test_a_lost_manifest_is_not_replaced_by_another(path, example, digests):
    (path / "zarr.json").write_bytes(b"{")
    before = digests(path)
    other = dataclasses.replace(example, context_length=10)
    with pytest.raises(CacheFormatError, match="the manifest is lost"):
        repair_records(path, verify(path), lambda: other.manifest)
    assert digests(path) == before


def test_without_lost_shards_the_source_is_not_asked_for(path, flip):
    flip(path / "statistics/text/variance/c.0", random.Random(3))
    assert repair_records(path, verify(path), lambda: pytest.fail("the source was asked for")) == []


def delete(file, _):
    file.unlink()


def truncate(file, rng):
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def damage_a_byte(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content) - 300)] ^= 1  # not in the index, or all of a shard is damaged
    file.write_bytes(content)


@pytest.mark.parametrize("of_shard", [delete, truncate, damage_a_byte])
@pytest.mark.parametrize("of_ledger", [delete, truncate, damage_a_byte])
def test_with_the_ledger_lost_too_no_more_shards_are_lost_than_are_damaged(
    path, repair, digests, of_ledger, of_shard
):
    whole, rng = digests(path), random.Random(f"{of_ledger} {of_shard}")
    of_ledger(path / "ledger.parquet", rng)
    of_shard(path / "vision/tokens/c.1.0.0", rng)
    assert repair(path) == [1]
    assert digests(path) == whole


def test_with_the_ledger_lost_too_exchanged_shards_are_lost_and_no_others(path, repair, digests):
    whole = digests(path)
    (path / "ledger.parquet").unlink()
    one, other = (path / f"vision/tokens/c.{shard}.0.0" for shard in (0, 1))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert repair(path) == [0, 1]
    assert digests(path) == whole


def test_a_cache_whose_shards_are_all_committed_is_unfinished_and_repaired_by_finishing(
    path, repair, digests
):
    whole = digests(path)
    CacheWriter.reopen(path, []).close()
    found = verify(path)
    assert found.problems == () and found.unwritten == ()
    assert not found.finished and not found.sound
    assert repair(path) == []
    assert digests(path) == whole and verify(path).sound


@pytest.mark.parametrize("written", range(0, 50, 12))
def test_a_repair_that_fills_the_disk_is_continued_by_the_next(path, repair, digests, written, monkeypatch):
    whole = digests(path)
    (path / "ledger.parquet").write_bytes(b"")
    (path / "text/pooled/c.1.0").unlink()
    calls = iter(range(10**6))
    write = os.write

    def filling(descriptor, content):
        if next(calls) >= written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling)
        with pytest.raises(DiskSpaceError, match=r"disk is full .* run the same command again"):
            repair(path)
    assert not verify(path).sound
    repair(path)
    assert digests(path) == whole


def test_a_repair_killed_at_any_moment_is_continued_by_the_next(tmp_path, digests):
    script = TESTS / "cache/killed_repair.py"
    search = os.pathsep.join([str(TESTS / "processes"), *sys.path])
    done = subprocess.run(
        [sys.executable, script, tmp_path, str(KILLED_RUNS)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search},
    )
    assert json.loads(done.stdout)["kills"] >= KILLED_RUNS
    whole = digests(tmp_path / "whole.zarr")
    for run in range(KILLED_RUNS):
        assert digests(tmp_path / f"{run}.zarr") == whole, run


def test_two_never_repair_at_once_nor_beside_a_writer(example, path):
    with locked(path), pytest.raises(CacheLockedError, match="is writing this cache"):
        locked(path)
    with CacheWriter.open(path, example.manifest), pytest.raises(CacheLockedError):
        locked(path)
    with locked(path) as lock, CacheWriter.reopen(path, [], lock) as writer:
        with pytest.raises(CacheLockedError):
            locked(path)
        writer.finish().close()
    locked(path).release()
