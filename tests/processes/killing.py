"""Sending a process a signal at a chosen moment: before or after its n-th call that can change files.

Nothing on the disk changes between two of them, so that these are all the states in which it can be killed. Forking
a process that has imported everything saves doing so for every kill; nothing may have started threads before.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

CHANGING = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir")


class Calls:
    """Counts the moments before and after each call of this process that can change files, while its block runs.

    Attributes:
        made: moments so far.
    """

    def __init__(self, moment: int | None = None, sent: signal.Signals = signal.SIGKILL) -> None:
        """Send this process the signal `sent` when `made` reaches `moment`."""
        self.made = 0
        self._moment = moment
        self._sent = sent
        self._patches = ExitStack()

    def __enter__(self) -> "Calls":
        counted = {name: self._counted(getattr(os, name)) for name in CHANGING}
        self._patches.enter_context(mock.patch.multiple(os, **counted))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._count()
            result = function(*arguments, **options)
            self._count()
            return result

        return call

    def _count(self) -> None:
        self.made += 1
        if self.made == self._moment:
            os.kill(os.getpid(), self._sent)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; returns its exit status, negative the signal that ended it."""
    gc.freeze()  # a child that collected the objects of before would copy every page they lie on
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except SystemExit as leaving:
            status = leaving.code
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def command_in_child(
    command: Callable[[], None],
    arguments: list[str],
    folder: Path,
    moment: int | None = None,
    sent: signal.Signals = signal.SIGKILL,
) -> tuple[int, int]:
    """Give a command in `folder`, with a signal at a moment; returns its status and the moments there were.

    What it says is in the files `out` and `err` of the folder.
    """
    ours, theirs = os.pipe()

    def work() -> None:
        os.chdir(folder)
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = arguments
        try:
            with Calls(moment, sent) as calls:
                command()
        finally:
            os.write(theirs, str(calls.made).encode())

    status = in_child(work)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        return status, int(pipe.read() or 0)
