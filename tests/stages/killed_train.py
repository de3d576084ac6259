"""Trains in a small project with the `concord` command many times over, in processes that are killed in between."""

import random
import signal
from pathlib import Path
from typing import Any

import dvc.repo  # noqa: F401  (dvclive imports it when it is used)
from killing import command_in_child, in_child
from micro_project import RUN, change_params, working_in, write_project

from pipeline.runs.checkpoint import read_checkpoint
from stages import check, cli, train  # noqa: F401  (the command imports them when it is given)


def trained(folder: Path, project: Path, moment: int | None = None) -> tuple[int, int]:
    """Give the command in `folder`, killed at a moment; its status and the moments there were."""
    folder.mkdir(exist_ok=True)
    if not (folder / "data").exists():
        (folder / "data").symlink_to(project / "data")
    arguments = ["concord", "train", "lucid", "--params", str(project / "params.yaml")]
    return command_in_child(cli.app, arguments, folder, moment)


def interrupt_training(folder: Path, kills: int) -> dict[str, Any]:
    """Train in FOLDER/whole without interruption, and killed in other folders.

    In FOLDER/RUN, for every run, the command is killed (SIGKILL) and given again until it gets to its end, until there
    were `kills` kills in all. The sides are matched after a third of the steps.

    Returns:
        For each kill the step of the checkpoint that there was then, -1 without one; and the number of runs.
    """
    project = folder / "project"
    project.mkdir(parents=True)
    assert in_child(lambda: write_project(project)) == 0  # it starts threads, which nothing may before a fork
    change_params(project, "sae", latents=12, matching={"separate_epochs": 1})
    status, calls = trained(folder / "whole", project)
    assert status == 0
    killed: list[int] = []
    runs = 0
    while len(killed) < kills:
        chosen = random.Random(runs)
        run = folder / str(runs)
        moment: int | None = chosen.randrange(1, calls)
        while trained(run, project, moment)[0] == -signal.SIGKILL:
            with working_in(run):
                checkpoint = RUN / "checkpoint.safetensors"
                killed.append(read_checkpoint(checkpoint).step if checkpoint.exists() else -1)
            moment = chosen.randrange(1, calls) if len(killed) < kills else None
        runs += 1
    return {"killed": killed, "runs": runs}
