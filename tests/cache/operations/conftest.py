"""What the tests of whole-cache operations share."""

import hashlib

import pytest


@pytest.fixture(scope="session")
def digests():
    """A function that gives the SHA-256 of every file of a folder by its path inside."""

    def of(folder):
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }

    return of


@pytest.fixture(scope="session")
def flip():
    """A function that changes one byte of a file, seeded, in place; gives the position."""

    def of(file, rng):
        content = bytearray(file.read_bytes())
        position = rng.randrange(len(content))
        content[position] ^= rng.randrange(1, 256)
        file.write_bytes(content)
        return position

    return of


@pytest.fixture(scope="session")
def shard_of():
    """A function that gives the shard that a file belongs to by its path inside the cache; None for all others."""

    def of(name):
        folder, _, file = name.rpartition("/")
        if folder.count("/") != 1 or not file.startswith("c.") or folder in ("text/starts", "text/lengths"):
            return None
        return int(file.split(".")[1])

    return of
