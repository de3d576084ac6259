"""Commands killed or told to stop in real processes: what is finished stays, and the end is the same."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from micro_project import RUN, STEPS, contents

KILLS = {"encode": 20, "train": 5}


def digests(cache: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    files = [file for file in cache.rglob("*") if file.is_file()]
    return {str(file.relative_to(cache)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("interrupted")
    script = Path(__file__).with_name("killed_commands.py")
    alone = {
        "PYTHONPATH": str(Path(__file__).parents[1] / "processes"),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, script, folder, json.dumps(KILLS)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | alone,
    )
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def encoded(interrupted: tuple[Path, dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Where was encoded, and what happened."""
    return interrupted[0] / "encode", interrupted[1]["encode"]


def test_the_command_was_killed_before_between_and_after_committing_its_shards(
    encoded: tuple[Path, dict[str, Any]],
) -> None:
    committed = [len(shards) for shards in encoded[1]["killed"]]
    assert len(committed) >= KILLS["encode"]
    assert {0, 4} < set(committed)


def test_every_file_of_a_killed_encoding_is_that_of_an_uninterrupted_run(
    encoded: tuple[Path, dict[str, Any]],
) -> None:
    folder, told = encoded
    whole = digests(folder / "whole/data/cache/train.zarr")
    caches = [
        cache
        for cache in folder.glob("*/data/cache/train.zarr")
        if cache != folder / "whole/data/cache/train.zarr"
    ]
    assert len(caches) == told["runs"] + len(told["stopped"])
    assert [str(cache) for cache in caches if digests(cache) != whole] == []


def test_an_interruption_ends_in_one_line_that_says_which_shards_are_safe(
    encoded: tuple[Path, dict[str, Any]],
) -> None:
    for stop in encoded[1]["stopped"]:
        assert stop["status"] == {"SIGINT": 130, "SIGTERM": 143}[stop["signal"]], stop
        *_, line = stop["err"]  # after the progress bar
        assert not any("Traceback" in said for said in stop["err"])
        assert line.startswith("interrupted; ")
        assert line.endswith("the same command goes on from here")
        safe = re.search(r"data/cache/train.zarr: committed are shards (.*) of 4;", line)
        assert safe is not None, line
        assert expanded(safe[1]) == stop["committed"]


def test_the_disk_space_is_shown_before_anything_is_encoded(encoded: tuple[Path, dict[str, Any]]) -> None:
    for stop in encoded[1]["stopped"]:
        assert re.fullmatch(
            r"data/cache/train.zarr: up to .*B on disk \(vision .*, text at most .*\)", stop["out"][0]
        )


def test_every_file_of_a_killed_training_is_that_of_an_uninterrupted_one(
    interrupted: tuple[Path, dict[str, Any]],
) -> None:
    folder, told = interrupted[0] / "train", interrupted[1]["train"]
    assert len(told["killed"]) == KILLS["train"]
    assert set(told["killed"]) - {-1, STEPS}, "some were killed on the way"
    whole = contents(folder / "whole" / RUN)
    assert whole.keys() >= {"config.json", "model.safetensors"}
    for run in range(told["runs"]):
        assert contents(folder / str(run) / RUN) == whole


def expanded(spans: str) -> list[int]:
    """The numbers in "0-2, 5"."""
    shards = []
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", spans):
        shards += range(int(first), int(last or first) + 1)
    return shards
