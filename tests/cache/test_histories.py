"""Whatever happens to a cache, it ends in the bytes of one that was written at once, and nothing committed is lost."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cache import CacheWriter
from cache.format.layout import sharded_layouts
from cache.format.ledger import record_path, shard_samples_name
from cache.format.root import read_root
from cache.operations.verify import verify

CALLS = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir")
MOMENTS = st.none() | st.integers(0, 250)


class Died(BaseException):
    """The process was killed."""


@contextmanager
def dying(moment: int | None) -> Iterator[None]:
    """Let the process die before a call that may change a file: neither that one nor any later is carried out."""
    made = 0

    def until_death(function: Callable) -> Callable:
        def call(*arguments, **options):
            nonlocal made
            made += 1
            if moment is not None and made > moment:
                raise Died
            return function(*arguments, **options)

        return call

    with mock.patch.multiple(os, **{name: until_death(getattr(os, name)) for name in CALLS}):
        yield


def contents(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


class Histories(RuleBasedStateMachine):
    """The model is the set of committed shards; what their files should be is known from `uninterrupted`."""

    example = None
    whole: Path
    """A finished cache."""
    uninterrupted: dict[str, bytes]
    """Every file that such a cache ever has, a finished one and one that only has to be finished."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "example.zarr"
        self.manifest = self.example.manifest
        self.shards = set(range(self.manifest.shards))
        self.committed: set[int] = set()
        self.complete = False
        self.damages: dict[str, tuple[int, str]] = {}

    @initialize(finished=st.booleans())
    def begin(self, finished):
        if finished:
            shutil.copytree(self.whole, self.path)
            self.complete, self.committed = True, self.shards

    @property
    def damaged(self) -> set[int]:
        """Committed shards of which a file is not what was written."""
        return {shard for shard, _ in self.damages.values()}

    @property
    def noticed(self) -> set[int]:
        """Those that resuming notices: all of them, while a complete cache is not resumed."""
        return set() if self.complete else self.damaged

    def attempt(self, moment: int | None, work: Callable[[], None], gains=frozenset(), losses=frozenset()):
        """Do something to the cache that commits `gains` and drops `losses`, or die in the middle of it."""
        losses = losses | self.noticed
        expected = (self.committed - losses) | gains
        try:
            with dying(moment):
                work()
            died = False
        except Died:
            died = True
        self.complete = (self.path / "zarr.json").exists() and read_root(self.path)[1] is not None
        found = {shard for shard in self.shards if self.complete or record_path(self.path, shard).exists()}
        assert found == expected or died
        assert self.committed - losses <= found <= self.committed | gains
        self.committed = found
        self.damages = {
            name: damage
            for name, damage in self.damages.items()
            if damage[0] in found and not self.is_as_written(name)
        }

    def is_as_written(self, name: str) -> bool:
        file = self.path / name
        return file.exists() and file.read_bytes() == self.uninterrupted[name]

    @rule(data=st.data(), moment=MOMENTS)
    @precondition(lambda self: not self.complete)
    def append(self, data, moment):
        missing = self.shards - self.committed | self.noticed
        written = {data.draw(st.sampled_from(sorted(missing)))} if missing else set()

        def work():
            with CacheWriter.open(self.path, self.manifest) as writer:
                assert set(writer.missing_shards) == missing
                for shard in written:
                    writer.write_shard(shard, *self.example.shard(shard))

        self.attempt(moment, work, gains=written)

    @rule(moment=MOMENTS)
    @precondition(lambda self: not self.complete and self.committed - self.noticed == self.shards)
    def finish(self, moment):
        self.attempt(moment, lambda: CacheWriter.open(self.path, self.manifest).finish())

    @rule(moment=MOMENTS)
    @precondition(lambda self: self.path.exists() and self.damaged)
    def repair(self, moment):
        bad = self.damaged
        self.attempt(moment, lambda: CacheWriter.reopen(self.path, bad).close(), losses=bad)

    @rule(data=st.data(), how=st.sampled_from(["flip", "truncate", "delete"]))
    @precondition(lambda self: self.committed)
    def damage(self, data, how):
        shard = data.draw(st.sampled_from(sorted(self.committed)))
        arrays = [layout.shard_file(shard) for layout in sharded_layouts(self.manifest).values()]
        name = data.draw(st.sampled_from(arrays if self.complete else [*arrays, shard_samples_name(shard)]))
        content = self.uninterrupted[name]
        place = data.draw(st.integers(0, len(content) - 1))
        cut = content[:place]
        (self.path / name).unlink(missing_ok=True)
        if how != "delete":
            end = bytes([content[place] ^ 1]) + content[place + 1 :] if how == "flip" else b""
            (self.path / name).write_bytes(cut + end)
        self.damages[name] = (shard, how)

    @rule()
    @precondition(lambda self: self.complete)
    def verification_finds_what_is_damaged(self):
        assert {problem.shard for problem in verify(self.path).problems} - {None} == self.damaged

    def teardown(self):
        if not self.complete:
            with CacheWriter.open(self.path, self.manifest) as writer:
                self.example.write_into(writer)
        bad = {problem.shard for problem in verify(self.path).problems} - {None}
        self.example.write_into(CacheWriter.reopen(self.path, bad))
        assert contents(self.path) == contents(self.whole)
        shutil.rmtree(self.folder)


def test_any_history_of_writing_dying_damage_and_repair_ends_in_the_same_bytes(Example, tmp_path):  # noqa: N803
    example = Example(caption_counts=(1, 2, 0, 1, 3, 1), undecodable=frozenset({3}), shard_images=2)
    with CacheWriter.open(tmp_path / "whole.zarr", example.manifest) as writer:
        for shard in writer.missing_shards:
            writer.write_shard(shard, *example.shard(shard))
        unfinished = contents(writer.path)
        writer.finish()
    Histories.example = example
    Histories.whole = writer.path
    Histories.uninterrupted = unfinished | contents(writer.path)
    run_state_machine_as_test(
        Histories,
        settings=settings(max_examples=12, stateful_step_count=12, suppress_health_check=list(HealthCheck)),
    )
