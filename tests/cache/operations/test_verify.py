"""Whatever happens to whatever file, verify names it, its shard, and exactly the pairs that can no longer be read."""

import dataclasses
import json
import random
import shutil

import numpy as np
import pytest

from cache import ActivationCache, CacheCorruptError, CacheFormatError, CacheMissingError, CacheWriter
from cache.operations import verify


def unreadable_pairs(path):
    """The pairs that the reader refuses, found by reading each alone."""
    with ActivationCache.open(path) as cache:
        return [pair for pair in range(cache.pairs) if not is_readable(cache, pair)]


def is_readable(cache, pair):
    try:
        cache.read_pairs(np.array([pair]))
    except CacheCorruptError:
        return False
    return True


def test_a_sound_cache_has_no_problem(path):
    progress = []
    found = verify(path, lambda *done: progress.append(done))
    assert found.problems == () and found.sound
    assert found.files == sum(file.is_file() for file in path.rglob("*"))
    assert progress == [(done, 15) for done in range(1, 16)]


@pytest.mark.parametrize("storage_dtype", ["float16", "int8"])
def test_a_flipped_byte_anywhere_is_found_and_the_pairs_it_touches_are_named(
    Example,  # noqa: N803
    storage_dtype,
    tmp_path,
    flip,
    shard_of,
):
    path = Example(storage_dtype=storage_dtype).write(tmp_path / "c.zarr").path
    files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    if storage_dtype == "int8":  # only what the other dtypes do not have
        files = {name: file for name, file in files.items() if shard_of(name) == 1 and "pooled" not in name}
    for name, file in files.items():
        content = file.read_bytes()
        position = flip(file, random.Random(f"{storage_dtype} {name}"))
        problems = verify(path).problems
        assert {problem.file for problem in problems} == {name}, position
        if shard_of(name) is not None:
            (problem,), lost = problems, unreadable_pairs(path)
            assert problem.shard == shard_of(name)
            assert problem.pairs.count == len(lost), (name, position)
            assert (problem.pairs.first, problem.pairs.last) == (
                (lost[0], lost[-1]) if lost else (None, None)
            )
        file.write_bytes(content)
    assert verify(path).sound


def truncate(file, rng):
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def append(file, rng):
    file.write_bytes(file.read_bytes() + rng.randbytes(1))


def fill_with_zeros(file, _):
    file.write_bytes(bytes(file.stat().st_size))


def delete(file, _):
    file.unlink()


def make_a_folder(file, _):
    file.unlink()
    file.mkdir()


KINDS = [
    "zarr.json",
    "vision/zarr.json",
    "text/tokens/zarr.json",
    "statistics/vision/zarr.json",
    "statistics/text/mean/c.0",
    "text/lengths/c.0",
    "samples.parquet",
    "ledger.parquet",
    "vision/tokens/c.1.0.0",
    "text/token_ids/c.2",
]


@pytest.mark.parametrize("damage", [truncate, append, fill_with_zeros, delete, make_a_folder])
def test_no_kind_of_file_is_lost_or_spoilt_without_a_problem(path, damage, tmp_path, shard_of):
    rng = random.Random(damage.__name__)
    for name in KINDS:
        file = path / name
        shutil.move(file, tmp_path / "whole")
        shutil.copyfile(tmp_path / "whole", file)
        damage(file, rng)
        problems = verify(path).problems
        assert {problem.file for problem in problems} == {name}
        if shard_of(name) is not None:
            assert {problem.shard for problem in problems} == {shard_of(name)}
        if file.is_dir():
            file.rmdir()
        shutil.move(tmp_path / "whole", file)
    assert verify(path).sound


def test_a_renamed_shard_is_missing_here_and_foreign_there(path):
    (path / "vision/tokens/c.2.0.0").rename(path / "vision/tokens/c.7.0.0")
    missing, foreign = verify(path).problems[::-1]
    assert (missing.file, missing.shard, missing.problem) == ("vision/tokens/c.2.0.0", 2, "is missing")
    assert missing.pairs.image_ids == (108, 109, 110)
    assert foreign.file == "vision/tokens/c.7.0.0" and "left over" in foreign.problem


def test_exchanged_shards_are_found_although_all_their_checksums_hold(path):
    one, other = (path / f"vision/tokens/c.{shard}.0.0" for shard in (0, 1))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    problems = verify(path).problems
    assert [problem.shard for problem in problems] == [0, 1]
    assert all("not the file that was written" in problem.problem for problem in problems)


@pytest.mark.parametrize("name", ["notes.txt", "vision/.DS_Store", "extra/zarr.json", "text/starts/c.1"])
def test_a_foreign_file_is_named_and_called_foreign(path, name):
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("mine")
    (problem,) = verify(path).problems
    assert problem.file == name and problem.foreign


def test_a_message_names_file_shard_pairs_and_images(path):
    file = path / "vision/tokens/c.0.0.0"
    file.write_bytes(bytes(file.stat().st_size))
    (problem,) = verify(path).problems
    assert str(problem) == (
        "vision/tokens/c.0.0.0 fails the CRC32C of its index; shard 0: 6 pairs (0 to 5), image ids 100, 101, 102, 103"
    )


def test_of_a_damaged_row_group_the_shard_is_named(path, example):
    content = bytearray((path / "samples.parquet").read_bytes())
    position = content.index(b"caption 0 of 5")
    content[position] ^= 1
    (path / "samples.parquet").write_bytes(content)
    (problem,) = verify(path).problems
    assert problem.shard == 1 and "1 of its row groups" in problem.problem
    assert (problem.pairs.first, problem.pairs.last) == (6, 8)


def test_an_edited_total_is_damage_of_the_root(path):
    document = json.loads((path / "zarr.json").read_bytes())
    document["attributes"]["totals"]["pairs"] += 1
    (path / "zarr.json").write_text(json.dumps(document))
    (problem,) = verify(path).problems
    assert problem.file == "zarr.json" and "edited" in problem.problem


def test_of_an_unfinished_cache_the_committed_shards_are_verified(example, tmp_path):
    with CacheWriter.open(tmp_path / "c.zarr", example.manifest) as writer:
        writer.write_shard(1, *example.shard(1))
        (writer.path / "vision/tokens/c.0.0.0.partial").write_bytes(b"half of it")
        found = verify(writer.path)
        assert found.problems == () and found.unwritten == (0, 2) and not found.sound
        (writer.path / "vision/tokens/c.1.0.0").write_bytes(b"")
        (problem,) = verify(writer.path).problems
    assert problem.shard == 1 and problem.pairs.count == 3 and problem.pairs.image_ids == (104, 105, 106, 107)


def test_what_an_interrupted_finish_left_behind_is_reported(example, path):
    (path / "ledger").mkdir()
    (path / "ledger/000000.json").write_text("{}")
    (problem,) = verify(path).problems
    assert "left over from writing" in problem.problem and not problem.foreign


def test_nothing_and_something_else_are_refused(tmp_path):
    with pytest.raises(CacheMissingError):
        verify(tmp_path / "nowhere.zarr")
    with pytest.raises(CacheFormatError, match="not an activation cache"):
        verify(tmp_path)


def test_skipped_images_belong_to_no_pair(Example, tmp_path):  # noqa: N803
    example = dataclasses.replace(Example(), undecodable=frozenset({3}))
    path = example.write(tmp_path / "c.zarr").path
    layout_row = 3  # each image is one chunk of vision/pooled: three float16 and a checksum
    file = path / "vision/pooled/c.0.0"
    content = bytearray(file.read_bytes())
    content[layout_row * (3 * 2 + 4)] ^= 1
    file.write_bytes(content)
    (problem,) = verify(path).problems
    assert problem.pairs.count == 0 and problem.pairs.image_ids == (103,)
