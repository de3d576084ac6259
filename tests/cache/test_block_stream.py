import errno
import fcntl
import os
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from blake3 import blake3

from cache.files.block_stream import BLOCK_BYTES, BlockStream
from cache.files.durable import DurableFile, file_written

SIZES = (1, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 4 * BLOCK_BYTES + 4096, 5 * BLOCK_BYTES + 3)


def content_of(size):
    return np.random.default_rng(size).integers(0, 256, size, np.uint8)


def write(path, content, piece):
    with DurableFile(path) as file:
        for start in range(0, len(content), piece):
            part = content[start : start + piece].copy()
            assert file.write(part) == len(part)
            part[:] = 0  # the caller may use its memory again
    return file.written


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [300_001, 2 * BLOCK_BYTES + 1])
def test_files_smaller_and_larger_than_the_blocks_hold_what_was_written(tmp_path, size, piece):
    path, content = tmp_path / "file", content_of(size)
    written = write(path, content, piece)
    assert path.read_bytes() == content.tobytes()
    assert (written.bytes, written.blake3) == (size, blake3(content).hexdigest())
    assert written == file_written(path)


@pytest.mark.parametrize("refused", ["open", "write"])
def test_a_file_system_that_refuses_direct_writes_is_written_through_the_page_cache(
    tmp_path, monkeypatch, refused
):
    really = {"open": os.open, "write": os.write}

    def open_(path, flags, *mode):
        if refused == "open" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return really["open"](path, flags, *mode)

    def write_(descriptor, content):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return really["write"](descriptor, content)

    monkeypatch.setattr(os, "open", open_)
    if refused == "write":
        monkeypatch.setattr(os, "write", write_)
    content = content_of(3 * BLOCK_BYTES + 7)
    write(tmp_path / "file", content, BLOCK_BYTES)
    assert (tmp_path / "file").read_bytes() == content.tobytes()


def test_a_block_that_cannot_be_written_is_an_error_and_leaves_no_file(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK_BYTES, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write(tmp_path / "file", content_of(6 * BLOCK_BYTES), BLOCK_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "file", content_of(BLOCK_BYTES + 1), BLOCK_BYTES)  # the next file knows nothing of it


def test_files_that_many_threads_write_at_once_share_no_block():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            written = list(threads.map(written_to_nowhere, range(4000)))
    finally:
        sys.setswitchinterval(interval)
    assert written == [blake3(bytes([number % 256])).hexdigest() for number in range(4000)]


def written_to_nowhere(number):
    descriptor = os.open(os.devnull, os.O_WRONLY)
    stream = BlockStream(descriptor)
    try:
        stream.append(bytes([number % 256]))
        return stream.finish()
    finally:
        stream.close()
        os.close(descriptor)
