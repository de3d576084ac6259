"""What was left out of the caches, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from cache import ActivationCache

EXAMPLES = 5


@dataclass(frozen=True)
class Skip:
    """Rows of one split that were skipped for one reason, with the files of the first few."""

    split: str
    reason: str
    count: int
    examples: tuple[str, ...]


def skipped_samples(caches: Mapping[str, ActivationCache]) -> tuple[Skip, ...]:
    """Skipped rows by split and reason ("kind" of "kind: detail"), most frequent first within a split."""
    return tuple(skip for split, cache in caches.items() for skip in _of_split(split, cache))


def _of_split(split: str, cache: ActivationCache) -> list[Skip]:
    files: dict[str, list[str]] = {}
    samples = cache.read_samples(["file", "skip_reason"])
    for row in samples.filter(samples["skip_reason"].is_valid()).to_pylist():
        files.setdefault(row["skip_reason"].partition(":")[0], []).append(row["file"])
    skips = (Skip(split, reason, len(some), tuple(some[:EXAMPLES])) for reason, some in files.items())
    return sorted(skips, key=lambda skip: -skip.count)
