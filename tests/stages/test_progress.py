"""Long work says how far it is: on a terminal all the time, elsewhere once a minute and at the end."""

import pytest

from stages import progress
from stages.progress import progress_bar, progress_bars


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_there_is_a_line_a_minute_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with progress_bar("train lucid", "steps", clock) as advance:
        for step in range(1, 301):
            clock.now += 0.5
            advance(step, 300)
    assert capsys.readouterr().err.splitlines() == [
        "train lucid: 120 of 300 steps in 1:00, about 1:30 left",
        "train lucid: 240 of 300 steps in 2:00, about 0:30 left",
        "train lucid: 300 of 300 steps in 2:30",
    ]


def test_what_an_earlier_run_did_does_not_count_as_fast(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress_bar("train lucid", "steps", clock) as advance:
        advance(1000, 1100)
        clock.now += 60
        advance(1010, 1100)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "train lucid: 1010 of 1100 steps in 1:00, about 9:00 left"
    assert last == "train lucid: 1010 of 1100 steps in 1:00"


def test_hours_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress_bar("encode train", "images", clock) as advance:
        advance(0, 100)
        clock.now += 3661
        advance(10, 100)
    assert "encode train: 10 of 100 images in 1:01:01, about 9:09:09 left" in capsys.readouterr().err


def test_work_that_fails_says_how_far_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), progress_bar("encode train", "images", Clock()) as advance:
        advance(3, 100)
        raise RuntimeError
    assert capsys.readouterr().err == "encode train: 3 of 100 images in 0:00\n"


def test_parts_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars(("encode concepts", "terms"), ("interpret", "pairs"), clock=Clock()) as (terms, pairs):
        terms(2, 2)
        pairs(5, 5)
    assert capsys.readouterr().err.splitlines() == [
        "encode concepts: 2 of 2 terms in 0:00",
        "interpret: 5 of 5 pairs in 0:00",
    ]


def test_on_a_terminal_every_part_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.Terminal, "is_terminal", True)
    with progress_bars(("encode concepts", "terms"), ("interpret", "pairs")) as (terms, pairs):
        terms(2, 2)
        pairs(5, 5)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "5/5" in shown
