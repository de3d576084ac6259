"""Runs at the command line: what they say of themselves, when they go on, and that nothing wrong goes unseen."""

import errno
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import ERRORS, Faults
from micro_project import RUN, STEPS, change_params, contents, working_in, write_project
from safetensors import safe_open
from typer.testing import CliRunner

import stages.evaluate
import stages.train
from pipeline.errors import RunError
from pipeline.interpretation.latent_table import read_latents
from pipeline.results.run import read_run
from pipeline.runs.files import writing_run
from pipeline.runs.seal import read_sealed, write_sealed
from pipeline.sae.saving import load_sae, save_sae
from stages import cli

TRAIN, INTERPRET, EVALUATE = (("train", "lucid"), ("interpret", "lucid"), ("evaluate", "lucid"))
CHECKPOINT = RUN / "checkpoint.safetensors"


def concord(*arguments: str) -> tuple[int, str]:
    """Status of a command and what it said, on one line."""
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one run is trained, interpreted and evaluated."""
    folder = tmp_path_factory.mktemp("finished")
    write_project(folder)
    with working_in(folder):
        for command in (TRAIN, INTERPRET, EVALUATE):
            status, said = concord(*command)
            assert status == 0, said
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which shares the caches; the working directory."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    shutil.copy(finished / "params.yaml", tmp_path)
    (tmp_path / "data").symlink_to(finished / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def untrained(project: Path) -> Path:
    """The project before its run."""
    shutil.rmtree("runs")
    return project


def sending(number: signal.Signals, moment: int) -> Callable[..., Any]:
    """A progress bar after whose `moment`-th step this process gets a signal."""

    @contextmanager
    def progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        def advance(done: int, total: int) -> None:
            if done == moment:
                os.kill(os.getpid(), number)

        yield advance

    return progress


def interrupt(monkeypatch: pytest.MonkeyPatch, moment: int, number: signal.Signals = signal.SIGINT) -> str:
    """Train until a signal comes after `moment` steps; what was said then."""
    with monkeypatch.context() as patched:
        patched.setattr(stages.train, "progress_bar", sending(number, moment))
        status, said = concord(*TRAIN)
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], said
    return said


def checkpoint_step() -> int:
    with safe_open(CHECKPOINT, "pt") as stored:
        return int(stored.metadata()["step"])


def test_a_run_says_what_it_was_trained_on_with_which_options_and_by_which_software(finished: Path) -> None:
    config = json.loads((finished / RUN / "config.json").read_text())
    cache = json.loads((finished / "data/cache/train.zarr/zarr.json").read_text())["attributes"]
    training = config["training"]
    assert config["options"]["latents"] == 32
    assert training["train"] == {
        "seed": 0,
        "epochs": 3,
        "batch_pairs": 4,
        "pairs": "paired",
        "decoder_cosine": None,
        "learning_rate": 3e-4,
        "weight_decay": 0.01,
        "warmup_steps": 500,
        "clip_norm": 1.0,
        "precision": "float32",
    }
    assert training["backbone"] == cache["manifest"]["backbone"]
    assert training["dataset"] == cache["manifest"]["dataset"]
    assert training["cache"]["manifest_sha256"] == cache["manifest_sha256"]
    assert training["cache"]["content_blake3"] == cache["files"]["ledger.parquet"]["blake3"]
    software = json.loads((finished / RUN / "software.json").read_text())
    assert software["versions"].keys() >= {"python", "torch", "numpy"}
    assert software.keys() >= {"commit", "edited"}


def test_a_finished_run_is_not_trained_again_without_being_asked(project: Path) -> None:
    before = contents(project / RUN)
    moments = {path: path.stat().st_mtime_ns for path in (project / RUN).rglob("*")}
    status, said = concord(*TRAIN)
    assert (status, "runs/lucid: is finished" in said, "--replace" in said) == (0, True, True)
    assert {path: path.stat().st_mtime_ns for path in (project / RUN).rglob("*")} == moments
    status, said = concord(*TRAIN, "--replace")
    assert status == 0 and "trained in" in said
    assert contents(project / RUN) == before


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("train", "learning_rate", 0.01, "train.learning_rate: 0.0003 and not 0.01"),
        ("train", "seed", 7, "train.seed: 0 and not 7"),
        ("train", "epochs", 4, "train.epochs: 3 and not 4"),
        ("train", "precision", "bfloat16", 'train.precision: "float32" and not "bfloat16"'),
        ("sae", "latents", 48, "sae.latents: 32 and not 48"),
    ],
)
@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_another_training_is_never_begun_over_this_one_unasked(
    project: Path, monkeypatch: pytest.MonkeyPatch, section: str, key: str, value: Any, told: str, state: str
) -> None:
    if state == "interrupted":
        shutil.rmtree(RUN)
        interrupt(monkeypatch, 5)
    before = contents(project / RUN)
    change_params(project, section, **{key: value})
    status, said = concord(*TRAIN)
    assert status == 1
    assert told in said and "--replace" in said and "--run" in said
    assert contents(project / RUN) == before


def test_replacing_a_checkpoint_of_another_training_says_what_is_lost(
    untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, 5)
    change_params(untrained, "train", seed=3)
    status, said = concord(*TRAIN, "--replace")
    assert status == 0
    assert "checkpoint.safetensors: discarded, step 5 of another training" in said
    assert json.loads((RUN / "config.json").read_text())["training"]["train"]["seed"] == 3
    assert not CHECKPOINT.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [1, 5, STEPS - 1])
def test_a_signal_keeps_the_step_it_came_in_and_the_next_run_ends_in_the_same_bytes(
    finished: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, moment: int
) -> None:
    said = interrupt(monkeypatch, moment, number)
    assert said.endswith(
        f"interrupted; runs/lucid: step {moment} of {STEPS} is kept; the same command goes on from here"
    )
    assert checkpoint_step() == moment
    assert concord(*TRAIN)[0] == 0
    trained = contents(finished / RUN)
    assert contents(untrained / RUN) == {
        name: content for name, content in trained.items() if name not in {"metrics.json", "latents.parquet"}
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [("checkpoint_every", 1), ("record_every", 1), ("placement", "stream"), ("device", "auto")],
)
def test_an_option_that_decides_no_weight_may_change_on_the_way(
    finished: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any
) -> None:
    interrupt(monkeypatch, 5)
    change_params(untrained, "train", **{key: value})
    with monkeypatch.context() as patched:
        begun = []
        patched.setattr(stages.train, "progress_bar", _recording(begun))
        assert concord(*TRAIN)[0] == 0
    assert begun[0] == 6, "it went on"
    assert (RUN / "model.safetensors").read_bytes() == (finished / RUN / "model.safetensors").read_bytes()


def test_a_training_that_diverged_says_how_to_begin_it_with_other_options(untrained: Path) -> None:
    change_params(untrained, "train", learning_rate=1e30, checkpoint_every=1)
    status, said = concord(*TRAIN)
    assert status == 1 and said.endswith(
        f"lower train.learning_rate or train.weight_decay, and delete {CHECKPOINT}"
    )
    change_params(untrained, "train", learning_rate=1e-3)
    status, said = concord(*TRAIN)
    assert status == 1 and "go back to its options, delete it (or say `--replace`)" in said
    CHECKPOINT.unlink()
    assert concord(*TRAIN)[0] == 0


def test_sizes_that_no_memory_holds_are_told_in_one_line(untrained: Path) -> None:
    change_params(untrained, "sae", latents=2**62)
    status, said = concord(*TRAIN)
    assert status == 1 and "not enough memory" in said and "fewer latents" in said


def _recording(steps: list[int]) -> Callable[..., Any]:
    @contextmanager
    def progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: steps.append(done)

    return progress


def test_an_interrupted_measurement_keeps_the_old_one_and_says_that_it_starts_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(project / RUN)
    monkeypatch.setattr(stages.evaluate, "progress_bar", sending(signal.SIGTERM, 8))
    status, said = concord(*EVALUATE)
    assert status == 143 and said.endswith("interrupted; the same command starts anew")
    assert contents(project / RUN) == before


@pytest.mark.parametrize("command", [TRAIN, INTERPRET, EVALUATE])
def test_a_run_that_is_being_written_is_left_alone(project: Path, command: tuple[str, str]) -> None:
    before = contents(project / RUN)
    with writing_run(RUN):
        status, said = concord(*command)
    assert status == 1
    assert f"runs/lucid: process {os.getpid()} is writing this run; wait until it is done" in said
    assert contents(project / RUN) == before


def test_figures_of_another_cache_are_not_reported(project: Path) -> None:
    figures = read_sealed(RUN / "metrics.json", "")
    figures["measured"][0]["cache_sha256"] = "0" * 64
    write_sealed(RUN / "metrics.json", figures)
    status, said = concord("report", "lucid")
    assert status == 1 and "was measured on another cache (000000000000) than data/cache/val.zarr" in said
    assert not Path("report").exists()


@pytest.mark.parametrize(
    "command",
    [
        INTERPRET,
        EVALUATE,
        ("explain", "picture.png", "--variant", "lucid"),
        ("classify", "lucid"),
        ("figure", "latent", "lucid", "0", "--output", "figure.png"),
    ],
    ids=lambda command: command[0],
)
def test_a_run_of_another_layer_is_not_measured_or_shown(
    project: Path, finished: Path, command: tuple[str, ...]
) -> None:
    shutil.copy(next((finished / "scenes/val").iterdir()), "picture.png")
    if command[0] == "figure":  # which takes the backbone from the cache
        config = json.loads((RUN / "config.json").read_text())
        identity = config["training"] | {"backbone": config["training"]["backbone"] | {"layer": 0}}
        save_sae(load_sae(RUN), RUN, identity)
    else:
        change_params(project, "backbone", layer=0)
    before = contents(project / RUN)
    status, said = concord(*command)
    assert status == 1
    assert "was trained on activations of another backbone" in said
    assert "backbone.layer" in said and " and not " in said
    assert contents(project / RUN) == before


def test_figures_of_an_earlier_training_are_refused(project: Path) -> None:
    old = (RUN / "metrics.json").read_bytes()
    change_params(project, "train", seed=5)
    assert concord(*TRAIN, "--replace")[0] == 0
    assert (RUN / "metrics.json").read_bytes() == old
    with pytest.raises(
        RunError, match=r"metrics.json: was measured on another dictionary .* `concord evaluate`"
    ):
        read_run(RUN)
    status, said = concord("figure", "table", "lucid", "--output", "table.tex")
    assert status == 1 and "was measured on another dictionary" in said
    status, said = concord(*EVALUATE)
    assert status == 0 and "latents.parquet is of another dictionary" in said
    assert "interpretation" not in read_run(RUN).metrics


READERS: dict[str, Callable[[], Any]] = {
    "model and config": lambda: {
        name: tensor.tolist() for name, tensor in load_sae(RUN).state_dict().items()
    },
    "metrics and curves": lambda: read_run(RUN),
    "latents": lambda: list(read_latents(RUN / "latents.parquet")),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damage", ["flip", "cut", "zeros"])
def test_damage_in_any_file_of_a_run_is_noticed_or_harmless(project: Path, damage: str, seed: int) -> None:
    whole = {name: read() for name, read in READERS.items()}
    files = [path for path in sorted(RUN.rglob("*")) if path.is_file()]
    assert len(files) > 8
    unseen = []
    for path in files:
        content = path.read_bytes()
        place = random.Random(f"{seed}/{path.name}").randrange(len(content))
        damaged = {
            "flip": content[:place] + bytes([content[place] ^ 1 << seed]) + content[place + 1 :],
            "cut": content[:place],
            "zeros": content[:place] + bytes(len(content) - place),  # a page that never reached the disk
        }[damage]
        path.write_bytes(damaged)
        if not _noticed(whole) and path.name != "software.json":  # which nothing reads
            unseen.append(str(path))
        path.write_bytes(content)
    assert unseen == []


def _noticed(whole: dict[str, Any]) -> bool:
    """Whether a reader refuses, in one line; what is read without a refusal must be as it was."""
    refused = False
    for name, read in READERS.items():
        try:
            assert read() == whole[name]
        except RunError as error:
            assert "\n" not in str(error) and str(RUN) in str(error)
            refused = True
    return refused


NO_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pipe": (os.mkfifo, "a named pipe"),
    "folder": (Path.mkdir, "a folder"),
    "link to itself": (lambda path: path.symlink_to(path.name), "a link that leads to itself"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("config.json", "model and config"),
        ("model.safetensors", "model and config"),
        ("metrics.json", "metrics and curves"),
        ("latents.parquet", "latents"),
    ],
)
def test_what_is_no_file_in_a_run_is_refused_and_never_waited_for(
    project: Path, name: str, reader: str, kind: str
) -> None:
    make, told = NO_FILES[kind]
    (RUN / name).unlink()
    make(RUN / name)
    with pytest.raises(RunError, match=f"{name}: cannot be read: is {told}"):
        READERS[reader]()


def test_names_that_are_no_file_are_not_taken_for_names_that_were_never_given(project: Path) -> None:
    before = (RUN / "metrics.json").read_bytes()
    (RUN / "latents.parquet").unlink()
    os.mkfifo(RUN / "latents.parquet")
    status, said = concord(*EVALUATE)
    assert status == 1 and "latents.parquet: cannot be read: is a named pipe" in said
    assert (RUN / "metrics.json").read_bytes() == before


COMMANDS = {"train": (TRAIN, 14), "interpret": (INTERPRET, 5), "evaluate": (EVALUATE, 5)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_system_that_refuses_once_loses_nothing_and_the_next_run_ends_in_the_same_bytes(
    project: Path, name: str
) -> None:
    command, trials = COMMANDS[name]
    whole = contents(project / RUN)
    if name == "train":
        whole = {
            file: content
            for file, content in whole.items()
            if file not in {"metrics.json", "latents.parquet"}
        }

    def begin() -> None:
        """The state before the command: an old result, but for training, which begins."""
        shutil.rmtree(RUN)
        if name != "train":
            for file, content in whole.items():
                (project / RUN / file).parent.mkdir(parents=True, exist_ok=True)
                (project / RUN / file).write_bytes(content)

    begin()
    with Faults(project / RUN) as faults:
        assert concord(*command)[0] == 0
    calls = faults.made
    assert calls > 3
    chosen = random.Random(name)
    for trial in range(trials):
        begin()
        number, error = round((trial + chosen.random()) / trials * (calls - 1)) + 1, chosen.choice(ERRORS)
        with Faults(project / RUN, number, getattr(errno, error), torn=chosen.random() < 0.5):
            status, said = concord(*command)
        told = f"call {number} of {calls}, {error}: {said}"
        left = contents(project / RUN) if RUN.exists() else {}
        assert not [file for file in left if file.endswith(".partial") or "tmp" in file], told
        if status == 0:
            assert left == whole, told
            continue
        assert status == 1 and os.strerror(getattr(errno, error)) in said and "runs/lucid" in said, told
        if name != "train":
            assert left == whole, told
        status, said = concord(*command)
        assert status == 0, f"{told}, then {said}"
        assert contents(project / RUN) == whole, told
