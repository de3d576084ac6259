"""The report takes its place whole, and deletes nothing that it did not write."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from cache import WriterLock
from pipeline.errors import RunError
from pipeline.report.folder import MARKER, replacing_report


def write(folder: Path, pages: dict[str, str]) -> None:
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def build(output: Path, pages: dict[str, str]) -> None:
    with replacing_report(output) as folder:
        write(folder, pages)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }


OLD = {"index.html": "old", "lucid/0001.html": "old", "lucid/0002.html": "old", "images/val/a.webp": "old"}
NEW = {"index.html": "new", "lucid/0001.html": "new", "pooled/0001.html": "new"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    build(tmp_path / "site" / "report", OLD)
    return tmp_path / "site" / "report"


def test_a_new_report_replaces_the_old_one_and_lists_its_files(output: Path) -> None:
    build(output, NEW)
    assert contents(output) == NEW
    assert json.loads((output / MARKER).read_text())["files"] == sorted([*NEW, MARKER])
    assert sorted(path.name for path in output.iterdir()) == ["index.html", "lucid", "pooled", MARKER]
    assert [path.name for path in output.parent.iterdir()] == ["report"]


def test_files_of_others_stay_in_the_folder(output: Path) -> None:
    mine = {"notes.txt": "mine", "lucid/thesis/page.html": "mine", "images/val/own.webp": "mine"}
    write(output, mine)
    build(output, NEW)
    assert contents(output) == NEW | mine
    build(output, OLD)
    assert contents(output) == OLD | mine


@pytest.mark.parametrize("name", ["pooled/0001.html", "pooled", "lucid/0001.html/notes.txt"])
def test_a_file_in_the_way_is_named_and_nothing_changes(tmp_path: Path, name: str) -> None:
    build(tmp_path / "report", {"index.html": "old"})
    write(tmp_path / "report", {name: "mine"})
    with pytest.raises(RunError, match=rf"report/{name}: is not of the report and in its way; move it"):
        build(tmp_path / "report", NEW)
    assert contents(tmp_path / "report") == {"index.html": "old", name: "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_links_are_not_followed(output: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, {"a.webp": "mine", "0001.html": "mine"})
    shutil.rmtree(output / "images" / "val")
    (output / "images" / "val").symlink_to(outside)  # where the report once had a.webp
    (output / "lucid" / "0001.html").unlink()
    (output / "lucid" / "0001.html").symlink_to(outside / "0001.html")
    build(output, NEW)
    assert contents(outside) == {"a.webp": "mine", "0001.html": "mine"}
    assert not (output / "lucid" / "0001.html").is_symlink()
    assert (output / "images" / "val").is_symlink()  # which no report wrote


@pytest.mark.parametrize("listed", ["../victim.txt", "lucid/../../victim.txt", "/victim.txt"])
def test_a_list_that_names_files_elsewhere_deletes_none(output: Path, listed: str) -> None:
    victim = output.parent / "victim.txt"
    victim.write_text("mine", encoding="utf-8")
    listed = str(victim) if listed.startswith("/") else listed
    (output / MARKER).write_text(json.dumps({"files": [*OLD, listed]}), encoding="utf-8")
    build(output, NEW)
    assert victim.read_text(encoding="utf-8") == "mine"
    assert contents(output) == NEW


@pytest.mark.parametrize("content", [None, "", "[]", '{"files": 3}', '{"files": [3]}', "{}"])
def test_a_folder_without_a_reports_list_is_left_alone(tmp_path: Path, content: str | None) -> None:
    write(tmp_path / "report", {"thesis.txt": "three years"})
    if content is not None:
        write(tmp_path / "report", {MARKER: content})
    with pytest.raises(RunError, match="name another folder"):
        build(tmp_path / "report", NEW)
    assert contents(tmp_path / "report") == {"thesis.txt": "three years"}


def test_a_link_a_file_and_another_process_are_refused(output: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(output)
    with pytest.raises(RunError, match="is a link"):
        build(tmp_path / "link", NEW)
    with pytest.raises(RunError, match="is a file"):
        build(output / "index.html", NEW)
    with replacing_report(output), pytest.raises(RunError, match="is writing this report"):
        build(output, NEW)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug")])
def test_a_report_that_fails_leaves_the_old_one_whole_and_nothing_beside_it(
    output: Path, error: Exception
) -> None:
    write(output, {"notes.txt": "mine"})
    expected = RunError if isinstance(error, OSError) else ValueError
    with pytest.raises(expected) as raised, replacing_report(output) as folder:
        write(folder, NEW)
        raise error
    assert contents(output) == OLD | {"notes.txt": "mine"}
    assert [path.name for path in output.parent.iterdir()] == ["report"]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("call", ["mkdir", "rename", "replace"])
def test_whichever_call_fails_the_old_report_or_the_new_one_is_there(
    output: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write(output, {"notes.txt": "mine"})
    real = getattr(os, call)
    for allowed in range(20):
        left = [allowed]

        def failing(*arguments: object, left: list[int] = left, **more: object) -> object:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EACCES, "Permission denied", str(arguments[0]))
            return real(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try:
                build(output, NEW)
            except RunError as error:
                assert "Permission denied" in str(error)
        if not output.exists():
            build(output, NEW)  # the next report puts right what a failing disk left
        found = contents(output)
        assert found["index.html"] in {"old", "new"}
        build(output, OLD)
        assert contents(output) == OLD | {"notes.txt": "mine"}
        assert [path.name for path in output.parent.iterdir()] == ["report"]


def test_what_a_kill_left_is_put_right(output: Path) -> None:
    write(output, {"notes.txt": "mine"})
    new, old = (output.with_name(f".report.{which}") for which in ("new", "old"))
    write(new, {MARKER: '{"files": []}', "index.html": "half"})  # while it was built
    build(output, NEW)
    assert contents(output) == NEW | {"notes.txt": "mine"}
    output.rename(old)  # between the two renames
    build(output, OLD)
    assert contents(output) == OLD | {"notes.txt": "mine"}
    shutil.copytree(output, old)  # before the old one was deleted
    (output / "notes.txt").unlink()
    build(output, NEW)
    assert contents(output) == NEW | {"notes.txt": "mine"}
    old.mkdir()
    (old / "lucid").mkdir()  # while it was deleted
    build(output, OLD)
    assert [path.name for path in output.parent.iterdir()] == ["report"]


def test_a_running_reports_work_is_not_taken_for_a_leftover(output: Path) -> None:
    new = output.with_name(".report.new")
    write(new, {MARKER: '{"files": []}', "index.html": "half"})
    with WriterLock(new, "report"), pytest.raises(RunError, match="is writing this report"):
        build(output, NEW)
    assert contents(new) == {"index.html": "half"}
