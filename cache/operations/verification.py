"""What verifying a cache finds, for people and as JSON."""

from dataclasses import dataclass
from typing import Any

from cache.operations.touched import TouchedPairs
from cache.shown import shown_text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes:
        file: path inside the cache.
        problem: what is wrong with it, to be read after its name.
        shard: the shard that it concerns; None if that is not a single one.
        pairs: the pairs that it touches; None if it touches no pair, or nothing tells which.
        foreign: whether the file is none of the cache's at all; then nothing but its owner should touch it.
    """

    file: str
    problem: str
    shard: int | None = None
    pairs: TouchedPairs | None = None
    foreign: bool = False

    def __str__(self) -> str:
        shard = "" if self.shard is None else f"; shard {self.shard}"
        return f"{shown_text(self.file)} {self.problem}{shard}" + (f": {self.pairs}" if self.pairs else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        pairs = self.pairs and self.pairs.to_json()
        return {
            "file": self.file,
            "problem": self.problem,
            "shard": self.shard,
            "pairs": pairs,
            "foreign": self.foreign,
        }


@dataclass(frozen=True)
class Verification:
    """What verifying a cache found.

    Attributes:
        problems: all that is wrong with its files; an unfinished cache may well have none.
        unwritten: numbers of the shards that are not committed yet.
        files: how many files were compared with what they should be.
        finished: whether the cache is complete, or would be but for the problems.
    """

    problems: tuple[Problem, ...]
    unwritten: tuple[int, ...]
    files: int
    finished: bool

    @property
    def sound(self) -> bool:
        """Whether the cache is complete and nothing is wrong with it."""
        return self.finished and not self.problems

    def concerns(self, file: str) -> bool:
        """Whether something is wrong with `file`."""
        return any(problem.file == file for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sound": self.sound,
            "problems": [problem.to_json() for problem in self.problems],
            "finished": self.finished,
            "unwritten_shards": list(self.unwritten),
            "files": self.files,
        }
