"""`concord doctor` tells what a machine uses, and never calls a wrong operation right."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipeline.sparse.availability import onednn_reason, triton_reason
from pipeline.training import agreement
from stages.cli import app

ROOT = Path(__file__).parents[2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PATH = "Triton kernel" if triton_reason(torch.device(DEVICE)) is None else "eager"


def doctor(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_operation_is_run_and_agrees_with_float64() -> None:
    findings = json.loads(doctor("--json", "--params", str(ROOT / "params.yaml")))
    operations = {operation["operation"]: operation for operation in findings["operations"]}
    assert operations.keys() == {"Top-K", "sparse decode", "weight gradient", "Sinkhorn"}
    assert all(operation["agrees"] and operation["path"] == PATH for operation in operations.values())
    assert "train.precision float32" in findings["options"]["precision"]
    assert findings["host_memory_available"] > 0 and findings["disk_free"] > 0


def test_without_a_gpu_it_says_why_triton_is_not_used() -> None:
    if PATH == "eager":
        reason = triton_reason(torch.device("cpu"))
        assert f"not used: {reason}" in doctor()


def test_it_says_whether_onednn_encodes_and_why_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = onednn_reason(torch.device(DEVICE))
    assert f"to encode, {'used' if reason is None else f'not used: {reason}'}" in doctor()
    if DEVICE == "cpu":
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        assert "to encode, not used: torch.backends.mkldnn is switched off" in doctor()


@pytest.mark.parametrize(
    ("operation", "broken"),
    [("gather_sum", lambda *_: torch.full((12, 40), torch.nan)), ("sinkhorn", lambda cost, *_: cost)],
)
def test_an_operation_that_is_wrong_is_told_and_ends_in_status_1(
    operation: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, operation, broken)
    monkeypatch.setattr(agreement, "_gradient_error", lambda device: 0.0)
    assert doctor(status=1).count("DISAGREES") == 2
    assert [found["agrees"] for found in json.loads(doctor("--json", status=1))["operations"]].count(
        False
    ) == 1


def test_it_answers_also_where_options_and_caches_are_missing_or_broken(empty_folder: Path) -> None:
    shown = doctor()
    assert "params.yaml: no such file" in shown
    assert "no cache yet" in shown
    (empty_folder / "data" / "cache" / "train.zarr").mkdir(parents=True)
    shown = doctor("--params", str(ROOT / "params.yaml"))
    assert "local-dir:models/tiny-siglip: no weights there" in shown
    assert shown.count("data/cache/train.zarr") >= 2  # the cache, and what is wrong with it
