import os

import pytest
from blake3 import blake3

from cache.files.durable import DurableFile, file_written, write_all_durably, write_durably


def test_a_file_is_replaced_and_never_changed_in_place(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    os.link(path, link)
    write_durably(path, b"new")
    assert (path.read_bytes(), link.read_bytes()) == (b"new", b"old")


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with DurableFile(path) as file:
        file.write(b"ne")
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert path.read_bytes() == b"new"
    assert file.written == file_written(path)
    assert file.written.blake3 == blake3(b"new").hexdigest()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), DurableFile(path) as file:
        file.write(b"half of the")
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_files_written_together_are_those_written_singly(tmp_path):
    contents = {tmp_path / f"{number % 3}" / f"{number}": bytes([number]) * number for number in range(20)}
    write_all_durably(contents)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == contents


def test_of_files_written_together_one_that_fails_is_reported(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_all_durably({tmp_path / "free": b"1", tmp_path / "taken": b"2"})
    assert (tmp_path / "taken").is_dir()
