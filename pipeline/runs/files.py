"""Writing the files of a run: each is whole or as it was before, whatever fails; one process writes a run at a time.

DVC may keep an old file under another name (a link into its own cache), so no file is ever written into; a new one
takes its name.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cache import CacheLockedError, DurableFile, WriterLock, sync
from pipeline.errors import RunError, os_error_reason

_BUFFER_BYTES = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file for writing that becomes `path`, durably and in one step, when the `with` block ends.

    Its folder is created. If the block raises, or the disk fails, nothing is left behind and `path` is as it was.

    Raises:
        RunError: the file cannot be written; names it and why.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with DurableFile(path) as file, io.BufferedWriter(file, _BUFFER_BYTES) as buffer:
            yield buffer
        sync(path.parent)
    except OSError as error:
        kept = "what was there is unchanged" if path.exists() else "nothing was left there"
        raise RunError(f"{path}: cannot be written ({kept}): {os_error_reason(error)}") from None


def replace_file(path: Path, content: bytes) -> None:
    """Make `content` the file `path`, as `replacing` does.

    Raises:
        RunError: the file cannot be written; names it and why.
    """
    with replacing(path) as file:
        file.write(content)


def create_folder(folder: Path) -> None:
    """Create a run's folder, if it is not there.

    Raises:
        RunError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be created: {os_error_reason(error)}") from None


@contextmanager
def writing_run(folder: Path) -> Iterator[None]:
    """Be the only process that writes the run in `folder`, which exists, while the block runs.

    Raises:
        RunError: another process writes it, which is named if the kernel tells; or the folder cannot be opened.
    """
    try:
        lock = WriterLock(folder, "run")
    except CacheLockedError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {os_error_reason(error)}") from None
    with lock:
        yield
