"""A file of a run is whole or as it was, nothing is left beside it, and one process writes a run at a time."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from pipeline.errors import RunError
from pipeline.runs.files import create_folder, replace_file, replacing, writing_run

CALLS = ("open", "write", "fsync", "replace")
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EMFILE", "ENFILE")


@contextmanager
def failing(name: str, error: str) -> Iterator[None]:
    """Let the system refuse every call `os.name`."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    patched = (
        mock.patch.object(Path, name, refuse) if name == "replace" else mock.patch.object(os, name, refuse)
    )
    with patched:
        yield


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("before", [{}, {"metrics.json": b"old"}], ids=["new", "replaced"])
def test_a_refused_call_is_one_line_and_leaves_everything_as_it_was(
    tmp_path: Path, call: str, error: str, before: dict[str, bytes]
) -> None:
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with failing(call, error), pytest.raises(RunError) as raised:
        replace_file(tmp_path / "metrics.json", b"new" * 1000)
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "metrics.json") in str(raised.value)
    assert os.strerror(getattr(errno, error)) in str(raised.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_whatever_ends_the_writing_the_old_file_stays(tmp_path: Path, raised: type[BaseException]) -> None:
    replace_file(tmp_path / "a.json", b"old")
    with pytest.raises(raised), replacing(tmp_path / "a.json") as file:
        file.write(b"new")
        raise raised
    assert contents(tmp_path) == {"a.json": b"old"}


def test_a_file_that_is_linked_elsewhere_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    stored.write_bytes(b"old")
    stored.chmod(0o444)
    for name, link in (("hard", os.link), ("soft", os.symlink)):
        link(stored, tmp_path / name)
        replace_file(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
        assert not (tmp_path / name).is_symlink()
    assert stored.read_bytes() == b"old"


def test_a_file_may_be_larger_than_any_buffer(tmp_path: Path) -> None:
    content = os.urandom(9 << 20)
    replace_file(tmp_path / "folder" / "large", content)
    assert contents(tmp_path / "folder") == {"large": content}


def test_a_second_writer_of_a_run_is_told_who_holds_it(tmp_path: Path) -> None:
    create_folder(tmp_path / "run")
    with (
        writing_run(tmp_path / "run"),
        pytest.raises(RunError, match=rf"process {os.getpid()} is writing this run"),
    ):
        second(tmp_path / "run")
    second(tmp_path / "run")


def second(run: Path) -> None:
    with writing_run(run):
        pass


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to(path.name)])
def test_a_run_that_cannot_be_a_folder_is_one_line(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "run")
    with pytest.raises(RunError, match="run: cannot be written"):
        second(tmp_path / "run")
