"""The whole command: a trained run and pictures in, a table and classification.json out."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.backbone.options import BackboneOptions
from pipeline.classification.options import ClassificationOptions
from pipeline.errors import ConfigError, DatasetError
from pipeline.params import Params, load_params
from pipeline.sae.registry import build_sae, save_sae
from stages.classify import classify_pictures

from .conftest import write_picture

OPTIONS = ClassificationOptions(seeds=2, pictures=1, alpha=0.5)
TEMPLATES = ["a photo of a {}", "a drawing of a {}"]


@pytest.fixture
def params(backbone_options: BackboneOptions) -> Params:
    shipped = load_params(Path(__file__).parents[3] / "params.yaml")
    return shipped.model_copy(update={"backbone": backbone_options})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_sae(build_sae({"architecture": "vl_sae", "latents": 32, "k": 4}, 8, 8, seed=0), tmp_path / "run")
    return tmp_path / "run"


def result(run: Path) -> Any:
    return json.loads((run / "classification.json").read_text(encoding="utf-8"))


def test_the_embedded_world_has_three_tasks(
    params: Params, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classify_pictures(params, run, OPTIONS)
    tasks = result(run)["tasks"]
    assert {name: task["classes"] for name, task in tasks.items()} == {
        "easy": 26,
        "hard": 260,
        "hard_ood": 260,
    }
    hard, ood = (tasks[name]["rules"] for name in ("hard", "hard_ood"))
    assert hard["alpha_tuned"]["alpha"] == ood["alpha_tuned"]["alpha"], "tuned on the same seen pictures"
    assert hard["alpha_fixed"]["alpha"] == [0.5, 0.5]
    assert "hard_ood" in capsys.readouterr().out


def test_a_folder_is_split_by_seeds_and_skips_are_told(params: Params, run: Path, folder: Path) -> None:
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    classify_pictures(params, run, OPTIONS, folder, templates=TEMPLATES)
    (task,) = result(run)["tasks"].values()
    assert task["skipped"].keys() == {f"{folder}/cat/broken.png"}
    assert (task["classes"], task["splits"], task["interval_over"]) == (2, 2, "splits")
    assert task["tuning_pictures"] + task["test_pictures"] == 6
    assert task["templates"] == TEMPLATES


def test_a_second_folder_is_tuned_on(params: Params, run: Path, folder: Path, tmp_path: Path) -> None:
    tuning = tmp_path / "tuning"
    for name in ("cat", "red_boat"):
        write_picture(tuning / name / "0.png", seed=f"other {name}")
    classify_pictures(params, run, OPTIONS, folder, tuning, TEMPLATES)
    (task,) = result(run)["tasks"].values()
    assert (task["tuning_pictures"], task["test_pictures"], task["interval_over"]) == (2, 6, "pictures")
    write_picture(tuning / "cat" / "copy.png", seed="cat1")
    with pytest.raises(ConfigError, match=r"must not be tuned .* such as cat/copy\.png"):
        classify_pictures(params, run, OPTIONS, folder, tuning, TEMPLATES)


def test_the_untrained_control_has_other_codes_and_a_file_of_its_own(
    params: Params, run: Path, folder: Path
) -> None:
    save_sae(build_sae({"architecture": "vl_sae", "latents": 32, "k": 4}, 8, 8, seed=7), run)
    classify_pictures(params, run, OPTIONS, folder, templates=TEMPLATES, untrained=True)
    assert not (run / "classification.json").exists()
    control = json.loads((run / "classification-untrained.json").read_text(encoding="utf-8"))
    save_sae(build_sae({"architecture": "vl_sae", "latents": 32, "k": 4}, 8, 8, seed=0), run)
    classify_pictures(params, run, OPTIONS, folder, templates=TEMPLATES)
    assert result(run) == control, "the control is the dictionary as it is drawn"


def test_options_that_contradict_each_other_are_refused(params: Params, run: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="must not be tuned on the pictures that are scored, and both"):
        classify_pictures(params, run, OPTIONS, folder, folder / "cat" / "..")
    with pytest.raises(ConfigError, match="give --images, too"):
        classify_pictures(params, run, OPTIONS, None, folder)


def test_a_class_of_one_picture_is_refused(params: Params, run: Path, folder: Path) -> None:
    write_picture(folder / "dog" / "0.png", seed="dog")
    with pytest.raises(DatasetError, match="class 'dog' has 1 usable picture"):
        classify_pictures(params, run, OPTIONS, folder, templates=TEMPLATES)
