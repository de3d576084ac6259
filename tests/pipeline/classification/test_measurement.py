"""The whole measurement: trained runs and pictures in, tables and a file of results out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.table import classification_tables
from pipeline.classification.task import Folders
from pipeline.errors import ConfigError, DatasetError
from pipeline.language_models.decoder import MeanStates
from pipeline.language_models.state_cache import write_state_cache
from pipeline.params import Params, load_params
from pipeline.sae.registry import build_sae
from pipeline.sae.saving import save_sae
from stages.classify import classify_pictures
from stages.cli import app

from .conftest import write_picture

ROOT = Path(__file__).parents[3]
OPTIONS = ClassificationOptions(seeds=2, pictures=1, alpha=0.5)
TEMPLATES = ["a photo of a {}", "a drawing of a {}"]
SAE = {"architecture": "vl_sae", "latents": 32, "k": 4, "centre": 1.0}


@pytest.fixture(scope="module")
def params(backbone_options: BackboneOptions) -> Params:
    shipped = load_params(ROOT / "params.yaml")
    return shipped.model_copy(update={"backbone": backbone_options})


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two trainings of one variant, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for seed in (10, 11):
        training = {"backbone": load_backbone(params.backbone).identity}
        save_sae(build_sae(SAE, 8, 8, seed), Path(f"run-{seed}"), training)
    return [Path("run-10"), Path("run-11")]


def measure(params: Params, runs: list[Path], folders: Folders | None = None, **options: Any) -> Any:
    classify_pictures(params, OPTIONS, runs, Path("new/classification.json"), folders, **options)
    return json.loads(Path("new/classification.json").read_text(encoding="utf-8"))


def test_the_embedded_world_has_three_tasks(
    params: Params, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = measure(params, runs)["tasks"]
    assert {name: task["classes"] for name, task in tasks.items()} == {
        "easy": 26,
        "hard": 260,
        "hard_ood": 260,
    }
    hard, ood = (tasks[name]["trained"] for name in ("hard", "hard_ood"))
    assert hard["alpha_tuned"]["alpha"] == ood["alpha_tuned"]["alpha"], "tuned on the same seen pictures"
    assert hard["alpha_fixed"]["alpha"] == [[0.5, 0.5], [0.5, 0.5]]
    assert hard["alpha_0"]["by_split"][0] == hard["alpha_0"]["by_split"][1], "one backbone, the same pictures"
    assert "hard_ood" in capsys.readouterr().out


def test_a_folder_is_split_by_seeds_and_skips_are_told(
    params: Params, runs: list[Path], folder: Path
) -> None:
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    (task,) = measure(params, runs[:1], Folders(folder, templates=TEMPLATES))["tasks"].values()
    assert task["skipped"].keys() == {f"{folder}/cat/broken.png"}
    assert (task["classes"], task["splits"]) == (2, 2)
    assert task["tuning_pictures"] + task["test_pictures"] == 6
    assert task["templates"] == TEMPLATES


def test_a_second_folder_is_tuned_on(params: Params, runs: list[Path], folder: Path, tmp_path: Path) -> None:
    tuning = tmp_path / "tuning"
    for name in ("cat", "red_boat"):
        write_picture(tuning / name / "0.png", seed=f"other {name}")
    folders = Folders(folder, tuning, TEMPLATES)
    (task,) = measure(params, runs[:1], folders)["tasks"].values()
    assert (task["tuning_pictures"], task["test_pictures"], task["splits"]) == (2, 6, 1)
    assert "by_split" not in task["trained"]["alpha_0"], "the interval is over pictures"
    write_picture(tuning / "cat" / "copy.png", seed="cat1")
    with pytest.raises(ConfigError, match=r"must not be tuned .* such as cat/copy\.png"):
        measure(params, runs, folders)


def test_the_control_is_what_training_begins_with_once_per_run(
    params: Params, backbone: Backbone, runs: list[Path], folder: Path
) -> None:
    states = MeanStates(*torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0)) + 3)
    words = [str(number) for number in range(6)]
    cache = write_state_cache(
        Path("data/cache/train.zarr"), words, words, states, None, backbone.identity, {"name": "train"}
    )
    folders = Folders(folder, templates=TEMPLATES)
    result = measure(params, runs, folders, untrained=True)
    (task,) = result["tasks"].values()
    assert "| `mine`, untrained | " in classification_tables({"mine": result})
    fresh = []
    for seed in (0, 1):
        sae = build_sae(SAE, 8, 8, seed)
        sae.initialise(sae.reader.statistics(cache))
        fresh.append(Path(f"fresh-{seed}"))
        save_sae(sae, fresh[-1], {"backbone": backbone.identity})
    (expected,) = measure(params, fresh, folders)["tasks"].values()
    assert task["untrained"] == expected["trained"]
    assert task["trained"] != task["untrained"]


@pytest.fixture
def command(backbone_options: BackboneOptions, runs: list[Path]) -> Callable[..., str]:
    """Runs `concord classify` with options of its own; returns what it printed."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    sections = {"backbone": backbone_options.model_dump(), "classify": {"seeds": 2, "pictures": 1}}
    Path("params.yaml").write_text(yaml.safe_dump(values | sections), encoding="utf-8")

    def run(*arguments: str) -> str:
        return " ".join(CliRunner().invoke(app, ["classify", "mine", *arguments]).output.split())

    return run


def test_the_command_takes_its_options_from_the_section_and_the_line(
    command: Callable[..., str], runs: list[Path], folder: Path
) -> None:
    Path("runs").mkdir()
    runs[0].rename("runs/mine")
    printed = command("--images", str(folder), "--template", "a {}", "--alpha", "0")
    result = json.loads(Path("runs/mine/classification.json").read_text(encoding="utf-8"))
    assert (result["options"]["alpha"], result["options"]["seeds"]) == (0, 2), printed
    (task,) = result["tasks"].values()
    assert task["templates"] == ["a {}"]
    assert task["trained"]["alpha_fixed"]["by_split"] == task["trained"]["alpha_0"]["by_split"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--alpha", "-1"], "classify.alpha: Input should be greater than or equal to 0 (got -1.0)"),
        (["--seeds", "0"], "classify.seeds: Input should be greater than or equal to 1 (got 0)"),
        (
            ["--template", "a {}"],
            "--tuning-images, --template: belong to pictures of yours; give --images, too",
        ),
        (["--tuning-images", "pets"], "give --images, too"),
        ([], "runs/mine/config.json: no such file; train this variant first"),
        (["--untrained", "--run", "run-10"], "data/cache/train.zarr"),
    ],
)
def test_a_mistake_ends_the_command_in_one_clear_line(
    command: Callable[..., str], arguments: list[str], complaint: str
) -> None:
    assert complaint in command(*arguments)


def test_tuning_on_the_folder_that_is_scored_is_refused(
    params: Params, runs: list[Path], folder: Path
) -> None:
    with pytest.raises(ConfigError, match="must not be tuned on the pictures that are scored, and both"):
        measure(params, runs, Folders(folder, folder / "cat" / ".."))


def test_a_class_of_one_picture_is_refused(params: Params, runs: list[Path], folder: Path) -> None:
    write_picture(folder / "dog" / "0.png", seed="dog")
    with pytest.raises(DatasetError, match="class 'dog' has 1 usable picture"):
        measure(params, runs, Folders(folder, templates=TEMPLATES))
