"""Processes that take turns never run at the same time, and each is charged for its own turns only."""

import time
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest

from benchmarks.turns import in_turns

TURN_SECONDS = 0.05
MOMENTS = 400


def _noting_moments(file: Path):
    """Work that notes the time `MOMENTS` times, busy in between."""

    def work() -> None:
        moments = []
        for _ in range(MOMENTS):
            sum(range(50_000))
            moments.append(time.perf_counter())
        file.write_text("\n".join(map(repr, moments)))

    return work


def _failing():
    raise RuntimeError("no backbone")


def test_while_one_runs_the_other_is_stopped(tmp_path):
    files = {name: tmp_path / name for name in ("one", "other")}
    candidates = {name: partial(_noting_moments, file) for name, file in files.items()}
    taken = in_turns(candidates, 1, TURN_SECONDS)
    moments = sorted((float(line), name) for name, file in files.items() for line in file.read_text().split())
    changes = len(list(groupby(moments, key=lambda moment: moment[1])))
    turns = sum(seconds for rounds in taken.values() for seconds in rounds) / TURN_SECONDS
    assert 2 < changes <= turns + 2


def test_each_round_of_each_candidate_is_charged_for_what_it_ran(tmp_path):
    candidates = {name: partial(_noting_moments, tmp_path / name) for name in ("one", "other")}
    started = time.perf_counter()
    taken = in_turns(candidates, 2, TURN_SECONDS)
    elapsed = time.perf_counter() - started
    assert [len(rounds) for rounds in taken.values()] == [2, 2]
    assert all(seconds > 0 for rounds in taken.values() for seconds in rounds)
    assert sum(map(sum, taken.values())) < elapsed


def test_a_candidate_that_fails_ends_the_measurement(tmp_path):
    with pytest.raises(ChildProcessError, match="a candidate failed"):
        in_turns({"fine": partial(_noting_moments, tmp_path / "fine"), "failing": _failing}, 1)
