"""A matched run at the command line: one that every other command takes."""

import json
import shutil
from pathlib import Path

import pytest
from micro_project import change_params, contents, working_in, write_project
from typer.testing import CliRunner

from pipeline.results.run import read_run
from pipeline.runs.seal import check_seal
from stages import cli


def concord(*arguments: str) -> tuple[int, str]:
    """Status of a command and what it said, on one line."""
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a trained run of fewer latents than there are pairs."""
    folder = tmp_path_factory.mktemp("match")
    write_project(folder)
    change_params(folder, "sae", latents=16, shared_ratio=0.5)
    with working_in(folder):
        assert concord("train", "lucid")[0] == 0
    return folder


@pytest.fixture(autouse=True)
def in_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_a_matched_run_is_measured_named_and_shown_like_a_trained_one() -> None:
    status, said = concord("match", "runs/lucid", "--output", "runs/matched")
    assert status == 0 and "of 8 latents fire on both sides, with a median correlation of" in said
    for name in ("model.safetensors", "config.json", "software.json"):
        check_seal(Path("runs/matched") / name, "")
    for command in ("interpret", "evaluate"):
        assert concord(command, "lucid")[0] == concord(command, "matched")[0] == 0
    status, said = concord("report", "matched", "lucid")
    assert status == 0, said
    assert "matched" in Path("report/index.html").read_text(encoding="utf-8")
    figures, before = (read_run(Path("runs") / name).metrics for name in ("matched", "lucid"))
    for side in ("vision", "text"):
        key = f"reconstruction.{side}.full_joint"
        assert figures[key] == pytest.approx(before[key])
    status, said = concord("train", "lucid", "--run", "runs/matched")
    assert status == 1 and "runs/matched: a finished run of another training" in said


def test_the_vision_side_of_one_run_and_the_text_side_of_another_become_a_run() -> None:
    assert concord("train", "lucid", "--seed", "1", "--run", "runs/other")[0] == 0
    status, said = concord("match", "runs/lucid", "runs/other", "--output", "runs/joined")
    assert status == 0, said
    matched = json.loads(Path("runs/joined/config.json").read_text())["training"]["matched"]
    assert [matched[side]["train"]["seed"] for side in ("vision", "text")] == [0, 1]


def test_a_match_on_the_validation_cache_is_refused_in_one_line_and_leaves_nothing() -> None:
    status, said = concord("match", "runs/lucid", "--cache", "data/cache/val.zarr", "--output", "runs/unfit")
    assert status == 1
    assert "data/cache/val.zarr: is not the cache that runs/lucid was trained on" in said
    assert 'dataset.split: "val" and not "train"' in said
    assert not Path("runs/unfit").exists()


def test_a_run_is_never_written_over() -> None:
    before = contents(Path("runs/lucid"))
    status, said = concord("match", "runs/lucid", "--output", "runs/lucid")
    assert status == 1 and "runs/lucid: exists; name another folder, or delete it" in said
    assert contents(Path("runs/lucid")) == before


def test_a_damaged_run_is_not_matched() -> None:
    shutil.copytree("runs/lucid", "runs/damaged")
    model = Path("runs/damaged/model.safetensors")
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    status, said = concord("match", "runs/damaged", "--output", "runs/unfit")
    assert status == 1 and "model.safetensors: changed since it was written" in said
