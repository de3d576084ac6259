"""The code that decides an activation, as one hash: part of what a cache says of the software that wrote it."""

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_DECIDING = ("cache/format", "cache/writing", "pipeline/backbone", "pipeline/datasets", "pipeline/encoding")


@cache
def code_sha256() -> str:
    """SHA-256 (hex) of the modules that make a cache from pictures and captions."""
    digest = hashlib.sha256()
    for folder in _DECIDING:
        for module in sorted((_ROOT / folder).glob("*.py")):
            digest.update(f"{folder}/{module.name}\0".encode())
            digest.update(hashlib.sha256(module.read_bytes()).digest())
    return digest.hexdigest()
