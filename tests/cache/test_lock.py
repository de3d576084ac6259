import errno
import fcntl

import pytest

from cache import ActivationCache, CacheError, CacheLockedError, CacheWriter, clear_cache


@pytest.fixture
def unfinished(example, tmp_path):
    with CacheWriter.open(tmp_path / "locked.zarr", example.manifest) as writer:
        yield writer


@pytest.mark.parametrize(
    "second",
    [
        lambda path, example: CacheWriter.open(path, example.manifest),
        lambda path, example: CacheWriter.reopen(path, [0]),
        lambda path, example: clear_cache(path),
    ],
)
def test_a_second_writer_is_refused_and_changes_nothing(example, unfinished, second):
    unfinished.write_shard(0, *example.shard(0))
    stray = unfinished.path / "vision/tokens/c.1.0.0.partial"
    stray.write_bytes(b"being written by the first")
    with pytest.raises(CacheLockedError, match=r"locked.zarr: process \d+ is writing this cache; wait until"):
        second(unfinished.path, example)
    assert stray.exists()
    assert example.write_into(unfinished).pairs == 13


def test_the_lock_leaves_no_file(example, unfinished, cache):
    example.write_into(unfinished)
    assert {file.name for file in unfinished.path.iterdir()} == {file.name for file in cache.path.iterdir()}


@pytest.mark.parametrize(
    "ending",
    [
        lambda writer, example: writer.close(),
        lambda writer, example: example.write_into(writer),
        lambda writer, example: writer.__exit__(None, None, None),
    ],
)
def test_a_writer_that_is_done_lets_the_next_one_in(example, unfinished, ending):
    with pytest.raises(CacheLockedError):
        CacheWriter.open(unfinished.path, example.manifest)
    ending(unfinished, example)
    CacheWriter.open(unfinished.path, example.manifest).close()


def test_a_writer_that_could_not_be_opened_leaves_no_lock(example, unfinished):
    unfinished.close()
    with pytest.raises(IndexError):
        CacheWriter.reopen(unfinished.path, [99])
    CacheWriter.open(unfinished.path, example.manifest).close()


def test_readers_are_not_hindered_by_a_writer(example, path):
    with CacheWriter.open(path, example.manifest):
        assert ActivationCache.open(path).samples.num_rows == 16


def test_a_closed_writer_writes_nothing_more(example, unfinished):
    unfinished.close()
    with pytest.raises(CacheError, match="the writer is closed; open the cache again"):
        unfinished.write_shard(0, *example.shard(0))


def test_a_file_system_without_locks_is_warned_about(example, tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="has no locks"):
        assert example.write(tmp_path / "unlocked.zarr").pairs == 13
