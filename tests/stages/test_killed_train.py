"""`concord train` killed in real processes: a killed training goes on to the same bytes and leaves nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

from micro_project import RUN, STEPS, contents

KILLS = 5


def test_every_file_of_a_killed_training_is_that_of_an_uninterrupted_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_train.py")
    alone = {"PYTHONPATH": str(Path(__file__).parents[1] / "processes"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path, str(KILLS)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | alone | {"TOKENIZERS_PARALLELISM": "false"},
        cwd=Path(__file__).parents[2],
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["killed"]) == KILLS
    assert set(told["killed"]) - {-1, STEPS}, "some were killed on the way"
    whole = contents(tmp_path / "whole" / RUN)
    assert whole.keys() >= {"config.json", "model.safetensors"}
    for run in range(told["runs"]):
        assert contents(tmp_path / str(run) / RUN) == whole
