"""A system that refuses: the n-th call of this process that touches a file of some folder fails, once.

What is called is what Python code uses to change files: `os.open`, `os.write`, `os.fsync`, `os.replace`, and `open` for
writing, which a library may use.
"""

import builtins
import io
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

ERRORS = ("ENOSPC", "EIO", "EMFILE", "EACCES", "EROFS", "EDQUOT")


class Faults:
    """Counts the calls that touch files in a folder while its block runs, and lets one of them fail.

    Attributes:
        made: calls so far.
    """

    def __init__(
        self, folder: Path, number: int | None = None, error: int = 0, *, torn: bool = False
    ) -> None:
        """Let call `number` fail with the errno `error`; if it is a write and `torn`, half of it is written before."""
        self.made = 0
        self._folder = str(folder.resolve())
        self._number, self._error, self._torn = number, error, torn
        self._descriptors: set[int] = set()
        self._lock = threading.Lock()
        self._patches = ExitStack()

    def __enter__(self) -> "Faults":
        for module, name, make in (
            (os, "open", self._os_open),
            (os, "write", self._write),
            (os, "fsync", self._fsync),
            (os, "replace", self._replace),
            (builtins, "open", self._open),
            (io, "open", self._open),
        ):
            self._patches.enter_context(mock.patch.object(module, name, make(getattr(module, name))))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _is_inside(self, path: Any) -> bool:
        return not isinstance(path, int) and str(Path(path).absolute()).startswith(self._folder)

    def _count(self) -> bool:
        """Whether this call is the one to fail."""
        with self._lock:
            self.made += 1
            return self.made == self._number

    def _fail(self, path: Any = None) -> None:
        raise OSError(self._error, os.strerror(self._error), path)

    def _os_open(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, *arguments: Any, **options: Any) -> int:
            inside = self._is_inside(path)
            if inside and self._count():
                self._fail(path)
            descriptor = function(path, *arguments, **options)
            (self._descriptors.add if inside else self._descriptors.discard)(descriptor)
            return descriptor

        return call

    def _open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if self._is_inside(path) and set(mode) & set("wax+") and self._count():
                self._fail(path)
            return function(path, mode, *arguments, **options)

        return call

    def _write(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int, content: Any) -> int:
            if descriptor in self._descriptors and self._count():
                if self._torn:
                    function(descriptor, bytes(content)[: len(content) // 2])
                self._fail()
            return function(descriptor, content)

        return call

    def _fsync(self, function: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            if descriptor in self._descriptors and self._count():
                self._fail()
            function(descriptor)

        return call

    def _replace(self, function: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any, **options: Any) -> None:
            if self._is_inside(target) and self._count():
                self._fail(source)
            function(source, target, **options)

        return call
