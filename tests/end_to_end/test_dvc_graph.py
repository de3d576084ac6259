"""The graph re-runs what a change touches, and nothing else."""

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

from .conftest import ENVIRONMENT, Project

ENCODED = {"encode@train", "encode@val", "encode@ood"}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_demo_ends_in_a_report_and_in_metrics_of_every_variant_it_trains(
    finished_project: Project,
) -> None:
    assert "<html" in (finished_project.folder / "report/index.html").read_text(encoding="utf-8")
    for variant in ("lucid", "shared_only", "separate"):
        metrics = json.loads((finished_project.folder / f"runs/{variant}/metrics.json").read_text())
        assert {"reconstruction", "grounding", "degeneracy", "concepts", "counts"} <= metrics.keys()


def test_a_second_reproduction_runs_nothing(finished_project: Project) -> None:
    assert finished_project.stages_run("report") == set()


def test_a_variants_option_retrains_that_variant_and_what_hangs_on_it(project: Project) -> None:
    project.change(variants={"separate": {"train": {"learning_rate": 0.002}}})
    assert project.stages_run("report") == {"train@separate", "evaluate@separate", "report"}


def test_a_new_variant_trains_only_itself(project: Project) -> None:
    project.change(variants={"wide": {"sae": {"latents": 96}}})
    assert project.stages_run("evaluate@wide", "report") == {"train@wide", "evaluate@wide"}


def test_editing_the_report_trains_and_encodes_nothing(project: Project) -> None:
    project.change(report={"title": "Another title"})
    assert project.stages_run("report") == {"report"}


def test_an_experiment_changes_the_option_it_names(project: Project) -> None:
    before = json.loads((project.folder / "runs/lucid/metrics.json").read_text())
    printed = project.succeed(
        "dvc", "exp", "run", "--set-param", "+variants.lucid.train.epochs=1", "evaluate@lucid"
    )
    ran = {line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage '")}
    assert ran == {"train@lucid", "evaluate@lucid"}
    assert json.loads((project.folder / "runs/lucid/metrics.json").read_text()) != before


def test_killing_and_repeating_ends_in_the_same_outputs(project: Project) -> None:
    expected = {name: digests(project.folder / name) for name in ("data/cache/train.zarr", "runs/lucid")}
    for name, sign_of_progress in (
        ("encode", "data/cache/train.zarr/ledger/*"),
        ("train", "runs/lucid/checkpoint.safetensors"),
    ):
        target = {"encode": "encode@train", "train": "train@lucid"}[name]
        kill_in_the_middle(project, target, sign_of_progress)
        project.succeed("dvc", "repro", "--force", "--single-item", target)
    assert {name: digests(project.folder / name) for name in expected} == expected


def kill_in_the_middle(project: Project, target: str, sign_of_progress: str) -> None:
    """Force `target` to run and kill DVC and its command, without warning, once the sign of progress is there."""
    process = subprocess.Popen(
        ["dvc", "repro", "--force", "--single-item", target],
        cwd=project.folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    started = time.time()
    while process.poll() is None:
        fresh = [path for path in project.folder.glob(sign_of_progress) if path.stat().st_mtime >= started]
        if fresh:
            subprocess.run(["pkill", f"-{signal.SIGKILL.value}", "--session", str(process.pid)], check=False)
    process.wait()
    assert process.returncode == -signal.SIGKILL, f"{target} ended before it could be killed"
