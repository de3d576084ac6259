"""The files of a cache that are kept open, so that a shuffled read costs no system call but its own."""

import threading
from collections import OrderedDict
from pathlib import Path

from cache.files.location import Location, opened
from cache.files.source import ByteSource

OPEN_FILES = 256
"""Files of one cache that are open at a time; most systems allow a process 1,024."""


class OpenFiles:
    """The files of one cache that were used last, for any number of threads.

    A file that has to go while a thread still reads it is closed when that thread is done.
    """

    def __init__(self, folder: Location, capacity: int = OPEN_FILES) -> None:
        """Refer to the cache at `folder`; nothing is opened yet."""
        self.folder = folder
        self.is_local = isinstance(folder, Path)
        self._capacity = capacity
        self._files: OrderedDict[str, ByteSource] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> ByteSource:
        """The file at the path `name` inside the cache. Raises OSError if it cannot be opened."""
        with self._lock:
            if name in self._files:
                self._files.move_to_end(name)
                return self._files[name]
        file = opened(self.folder / name)
        with self._lock:
            self._files[name] = file
            if len(self._files) > self._capacity:
                self._files.popitem(last=False)
        return file

    def close(self) -> None:
        """Close all files; `get` opens them again."""
        with self._lock:
            self._files.clear()
