"""The report's folder: a new report is built beside the old one and takes its place whole.

Only files that an earlier report wrote are deleted; its list of files, `report.json`, says which those are. What else
lies in the folder stays there. No link is followed.
"""

import os
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cache import CacheLockedError, WriterLock
from pipeline.errors import RunError, os_error_reason
from pipeline.runs.json_text import parse_json, write_json

MARKER = "report.json"
"""Lists the report's files; a folder without it was not written by `build_report`."""


@contextmanager
def replacing_report(output: Path) -> Iterator[Path]:
    """An empty folder to build a report in, which becomes `output` when the `with` block ends.

    If the block raises, or the disk fails, `output` is as it was and nothing is left beside it. After a kill at any
    moment the next report cleans up.

    Raises:
        RunError: `output` holds something else than a report, another process writes it, or a file cannot be written.
    """
    new, old = (output.with_name(f".{output.name}.{which}") for which in ("new", "old"))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _finish_replacing(old, output)
        _refuse_what_is_no_report(output)
        with _workplace(new):
            yield new
            written = _files_below(new) | {MARKER}
            _write_list(new, written)
            _refuse_to_cover(output, written)
            _exchange(new, output, old)
            _finish_replacing(old, output)
    except OSError as error:
        where = error.filename or output
        raise RunError(f"{where}: the report cannot be written: {os_error_reason(error)}") from None


@contextmanager
def _workplace(new: Path) -> Iterator[None]:
    """The folder `new`, emptied, which no other process has; it is removed unless it was renamed."""
    _refuse_what_is_no_report(new)  # a report that was killed left it, or one that is running has it
    new.mkdir(exist_ok=True)
    try:
        lock = WriterLock(new, "report")
    except CacheLockedError as error:
        raise RunError(str(error)) from None
    with lock:
        try:
            _empty(new)
            _write_list(new, set())  # first of all, so that what a kill leaves is known to be ours
            yield
        finally:
            if new.exists():
                shutil.rmtree(new, ignore_errors=True)


def _refuse_what_is_no_report(folder: Path) -> None:
    if folder.is_symlink():
        raise RunError(f"{folder}: is a link; name the folder itself for the report")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; name a folder for the report")
    if _files_below(folder):
        _listed(folder)


def _listed(folder: Path) -> set[str]:
    """The files that the report in `folder` says it wrote."""
    marker = folder / MARKER
    if marker.is_symlink() or not marker.is_file():
        raise RunError(f"{folder}: not empty and not a report (no {MARKER} in it); name another folder")
    files = parse_json(marker.read_bytes(), marker, "name another folder for the report").get("files")
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise RunError(f"{marker}: not the list of a report's files; name another folder for the report")
    return {*files, MARKER}


def _files_below(folder: Path) -> set[str]:
    """Everything in `folder` but folders, by its path from there; a link is itself, wherever it leads."""
    found = set()
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found |= {(Path(place) / name).relative_to(folder).as_posix() for name in (*files, *links)}
    return found


def _refuse_to_cover(output: Path, written: Set[str]) -> None:
    """Check that no file of somebody else's has the place of a file of the new report."""
    present = _files_below(output)
    folders = {parent.as_posix() for file in written for parent in PurePosixPath(file).parents}
    for file in sorted(present - _listed(output)) if present else ():
        above = {parent.as_posix() for parent in PurePosixPath(file).parents}
        if file in written | folders or above & written:
            raise RunError(f"{output / file}: is not of the report and in its way; move it to another place")


def _exchange(new: Path, output: Path, old: Path) -> None:
    """Give the new report the place of the one in `output`, which moves to `old`."""
    if output.exists():
        output.rename(old)
    try:
        new.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise


def _finish_replacing(old: Path, output: Path) -> None:
    """Delete what the replaced report in `old` had written, and put what else lay there into `output`.

    Also after a kill: without a new report in `output` the old one takes its place again.
    """
    _refuse_what_is_no_report(old)
    if not old.exists():
        return
    if not output.exists():
        old.rename(output)
        return
    present = _files_below(old)
    listed = _listed(old) if present else set()
    for file in sorted(present - {MARKER}):
        if file in listed:
            (old / file).unlink()
        else:
            (output / file).parent.mkdir(parents=True, exist_ok=True)
            (old / file).rename(output / file)
    (old / MARKER).unlink(missing_ok=True)  # last: it tells which files are whose
    for place, _, _ in os.walk(old, topdown=False):
        Path(place).rmdir()


def _empty(folder: Path) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == MARKER):  # last, likewise
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write_list(folder: Path, files: Set[str]) -> None:
    write_json(folder / MARKER, {"files": sorted(files)})
