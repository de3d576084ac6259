"""A real project in a temporary folder: the graph, the committed backbone, and a world small enough to wait for."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROCESSES = ROOT / "tests/processes"
COPIED = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    "cache",
    "dvc.yaml",
    "models",
    "params.yaml",
    "pipeline",
    "stages",
    "study",
)
AS_INSTALLED = os.environ | {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}
"""The environment in which `concord` is the command that pip installed."""


class Project:
    """A checkout of this repository with its own git history, DVC cache and micro parameters."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; its output is captured, its status is not checked."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def succeed(self, *command: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        finished = self.run(*command)
        assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stdout}"
        return finished.stdout

    def stages_run(self, *command: str) -> set[str]:
        """Run a command of DVC that reproduces something, and name the stages that DVC had to run."""
        printed = self.succeed("dvc", *command)
        return {line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage '")}

    def kill_commands(self) -> None:
        """Kill what is running of `dvc` and `concord`, without warning."""
        server = self.environment["COMMAND_SERVER_PROCESS"]
        subprocess.run(["pkill", f"-{signal.SIGKILL.value}", "--parent", server], check=False)

    def clone(self, folder: Path) -> "Project":
        """A second checkout, made by git: what DVC tracks is not there yet."""
        self.succeed("git", "clone", "--quiet", ".", str(folder))
        return Project(folder, self.environment)

    def copy(self, folder: Path) -> "Project":
        """A copy whose files, too, are links to those that DVC stores."""
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        return Project(folder, self.environment)

    def commit(self, message: str) -> None:
        """Commit all that git sees."""
        self.succeed("git", "add", "--all")
        self.succeed("git", "commit", "--quiet", "--message", message)

    def change(self, **sections: Any) -> None:
        """Merge `sections` into params.yaml."""
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), sections), sort_keys=False))


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: merge(old[key], new[key])
        for key in new
        if isinstance(old.get(key), dict) and isinstance(new[key], dict)
    }
    return old | new | both


def keep_few_recipes(folder: Path) -> None:
    """Leave out what no test runs: before any command DVC reads every stage of every graph."""
    kept = ("matched", "lucid", "separate")
    params, study = folder / "params.yaml", folder / "study/params.yaml"
    values, asked = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (params, study))
    values["variants"] = {name: values["variants"][name] for name in kept}
    lists = ("candidates", "scaled", "controlled", "classify")
    asked |= {name: [one for one in asked[name] if one in kept] for name in lists}
    for file, content in ((params, values), (study, asked)):
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def new_project(folder: Path, environment: Mapping[str, str]) -> Project:
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    keep_few_recipes(folder)
    project = Project(folder, environment)
    project.change(
        scenes={"train": 48, "val": 24, "ood": 12, "workers": 1},
        encode={"shard_images": 16},
        sae={"latents": 24, "k_shared": 4, "k_private": 4},
        variants={"matched": {"sae": {"image_level": {"latents": 8, "k": 4}}}},
        train={"epochs": 2, "batch_pairs": 8, "checkpoint_every": 1, "record_every": 1, "device": "cpu"},
    )
    project.succeed("git", "init", "--quiet")
    project.succeed("dvc", "remote", "add", "--quiet", "--default", "storage", str(folder.parent / "remote"))
    project.commit("micro project")
    return project


@pytest.fixture(scope="session")
def environment() -> Iterator[Mapping[str, str]]:
    """In which `concord` and `dvc` start at once: they are forked from a process that has imported everything."""
    with tempfile.TemporaryDirectory() as folder:
        address, client = Path(folder, "server"), PROCESSES / "command_client.py"
        for name in ("concord", "dvc"):
            command = Path(folder, name)
            command.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" -IS "{client}" {name} "$@"\n', encoding="utf-8"
            )
            command.chmod(0o755)
        with subprocess.Popen(
            [sys.executable, PROCESSES / "command_server.py", address],
            env=AS_INSTALLED | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
        ) as server:
            while not address.exists():
                assert server.poll() is None
                time.sleep(0.05)
            yield AS_INSTALLED | {
                "PATH": os.pathsep.join([folder, AS_INSTALLED["PATH"]]),
                "COMMAND_SERVER": str(address),
                "COMMAND_SERVER_PROCESS": str(server.pid),
            }


@pytest.fixture(scope="session")
def encoded_project(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The demo as far as its caches; DVC reads its short record of what has run in a fraction of the time."""
    project = new_project(tmp_path_factory.mktemp("project") / "encoded", environment)
    project.succeed("dvc", "repro", "encode@train", "encode@val", "encode@ood")
    project.commit("encoded")
    return project


@pytest.fixture(scope="session")
def finished_project(encoded_project: Project) -> Project:
    """The demo, reproduced once."""
    project = encoded_project.copy(encoded_project.folder.with_name("finished"))
    project.succeed("dvc", "repro", "report")
    project.commit("reproduced")
    return project


@pytest.fixture
def encoded_copy(encoded_project: Project, tmp_path: Path) -> Project:
    """The demo as far as its caches, which a test may change."""
    return encoded_project.copy(tmp_path / "project")


@pytest.fixture
def finished_copy(finished_project: Project, tmp_path: Path) -> Project:
    """The reproduced demo, which a test may change."""
    return finished_project.copy(tmp_path / "project")
