"""A matched run: made from Python as by the command, and taken by every other command."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from micro_project import contents
from typer.testing import CliRunner

import concord
from pipeline.runs.seal import check_seal
from stages.cli import app

RUN, MATCHED = Path("runs/lucid"), Path("runs/matched")


@pytest.fixture(autouse=True)
def in_the_project(project: Path) -> Iterator[None]:
    yield
    for folder in Path("runs").iterdir():
        if folder != RUN:
            shutil.rmtree(folder)


def command(*arguments: str) -> tuple[int, str]:
    """Status of a command and what it said, on one line."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_a_matched_run_is_named_measured_and_shown_like_a_trained_one() -> None:
    status, said = command("match", str(RUN), "--output", str(MATCHED))
    assert status == 0 and "of 8 latents fire on both sides, with a median correlation of" in said
    for name in ("model.safetensors", "config.json", "software.json"):
        check_seal(MATCHED / name, "")
    for arguments in (("interpret", "matched"), ("evaluate", "matched"), ("report", "matched")):
        status, said = command(*arguments)
        assert status == 0, said
    assert "matched" in Path("report/index.html").read_text(encoding="utf-8")
    status, said = command("train", "lucid", "--run", str(MATCHED))
    assert status == 1 and f"{MATCHED}: a finished run of another training" in said


def test_match_does_what_the_command_does_also_with_two_runs() -> None:
    assert command("train", "lucid", "--seed", "1", "--run", "runs/other")[0] == 0
    status, said = command("match", str(RUN), "runs/other", "--output", str(MATCHED))
    assert status == 0, said
    cache = concord.open_cache("data/cache/train.zarr")
    told: list[tuple[int, int]] = []
    concord.match(RUN, cache, "runs/by_hand", text_run="runs/other", progress=lambda *now: told.append(now))
    assert contents(Path("runs/by_hand")) == contents(MATCHED)
    assert told[-1] == (12, 12)
    matched = json.loads((MATCHED / "config.json").read_text())["training"]["matched"]
    assert [matched[side]["train"]["seed"] for side in ("vision", "text")] == [0, 1]


def test_a_match_on_the_validation_cache_is_refused_in_one_line_and_leaves_nothing() -> None:
    status, said = command("match", str(RUN), "--cache", "data/cache/val.zarr", "--output", str(MATCHED))
    assert status == 1
    assert f"data/cache/val.zarr: is not the cache that {RUN} was trained on" in said
    assert 'dataset.split: "val" and not "train"' in said
    assert not MATCHED.exists()


def test_a_run_is_never_written_over() -> None:
    before = contents(RUN)
    status, said = command("match", str(RUN), "--output", str(RUN))
    assert status == 1 and f"{RUN}: exists; name another folder, or delete it" in said
    assert contents(RUN) == before


def test_a_damaged_run_is_not_matched() -> None:
    shutil.copytree(RUN, "runs/damaged")
    model = Path("runs/damaged/model.safetensors")
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    status, said = command("match", "runs/damaged", "--output", str(MATCHED))
    assert status == 1 and "model.safetensors: changed since it was written" in said
