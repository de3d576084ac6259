"""The study: trainings become figures, docs/results.md sets side by side what is there, and lists what is left."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from micro_project import change_params, working_in, write_project

from cache import json_leaves
from pipeline.errors import ConfigError, RunError
from pipeline.params import Params, load_params
from pipeline.runs.config import training_of
from pipeline.runs.metrics import read_metrics
from pipeline.runs.model_file import model_seal
from pipeline.runs.seal import read_sealed, write_sealed
from pipeline.runs.software import software
from pipeline.study.measurement import read_measurement
from pipeline.study.options import SameSide, Scale, StudyOptions, Trial
from stages.paths import SAME_SIDE
from stages.repeat import repeat_candidate, repeat_variant
from stages.same_side import measure_same_side
from stages.study import write_study
from stages.trial import options_of, recipe_of

STUDY = StudyOptions(
    candidates=["lucid"],
    baseline="lucid",
    controlled=["lucid"],
    controls=["untrained", "deranged"],
    same_side=SameSide(variant="lucid", seeds=(0, 1)),
    seeds=[0, 1],
    scaled=["lucid"],
    scales=[Scale(budget=2), Scale(budget=2, sparsity=2)],
    classify=["lucid"],
    changed_captions=1,
    probed=[1],
)
INTERVAL = {"mean": 0.25, "over_pictures": 0.01, "over_trainings": 0.02}
RULE = {"accuracy": INTERVAL, "difference": INTERVAL, "by_split": [[0.25, 0.25]]}
RULES = dict.fromkeys(("alpha_0", "alpha_fixed", "alpha_tuned", "concepts_only"), RULE)
TASK = {"classes": 26, "splits": 2, "test_pictures": 104, "trained": RULES, "untrained": RULES}
POLL = {"greedy": dict.fromkeys(("accuracy", "precision", "recall", "f1", "yes_ratio"), 0.5)}
DONE = (
    Trial("lucid", 0, 1, 1),
    Trial("lucid", 1, 1, 1),
    Trial("lucid", 0, 2, 2),
    Trial("lucid", 0, 1, 1, "untrained"),
    Trial("lucid", 0, 1, 1, "deranged"),
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which some trainings of the study are done."""
    folder = tmp_path_factory.mktemp("study")
    write_project(folder)
    change_params(folder, "evaluate", least_positives=2)
    with working_in(folder):
        for trial in DONE:
            repeat_variant(load_params(Path("params.yaml")), STUDY, trial)
    return folder


@pytest.fixture
def params(measured: Path, tmp_path: Path) -> Iterator[Params]:
    """The options of a copy of that project, which is the working directory."""
    shutil.copytree(measured / "study/measured", tmp_path / "study/measured")
    shutil.copy(measured / "params.yaml", tmp_path)
    (tmp_path / "data").symlink_to(measured / "data")
    with working_in(tmp_path):
        yield load_params(Path("params.yaml"))


def page() -> str:
    return " ".join(Path("docs/results.md").read_text(encoding="utf-8").split())


def test_a_training_of_the_study_is_the_recipe_at_its_seed_budget_and_sparsity(params: Params) -> None:
    recipe = params.variant("lucid")
    longer = recipe_of(Trial("lucid", 3, 2, 2), params)
    assert (longer.train.seed, longer.train.epochs) == (3, 2 * recipe.train.epochs)
    assert (longer.sae.k_shared, longer.sae.k_private) == (1, 1)  # type: ignore[attr-defined]
    assert recipe_of(Trial("lucid", 0, 1, 9), params).sae.k_shared == 1  # type: ignore[attr-defined]
    assert recipe_of(Trial("lucid", 0, 1, 1), params) == recipe
    deranged = recipe_of(Trial("lucid", 0, 1, 1, "deranged"), params)
    assert deranged.train == recipe.train.model_copy(update={"pairs": "deranged"})


def test_epochs_before_a_match_grow_with_the_budget(params: Params) -> None:
    shipped = load_params(Path(__file__).parents[2] / "params.yaml").variant("matched")
    longer = shipped.scaled(3, 1)
    assert shipped.sae.matching and longer.sae.matching
    assert longer.sae.matching.separate_epochs == 3 * (shipped.sae.matching.separate_epochs or 0)
    assert shipped.scaled(1, 1) == shipped


def test_the_page_sets_what_is_measured_side_by_side_and_lists_what_is_left(params: Params) -> None:
    write_study(params, STUDY)
    shown = page()
    assert "5 of 10 trainings" in shown
    assert "## The recipes' own epochs, their active latents" in shown
    assert "## 2 times the recipes' epochs, 1/2 of their active latents" in shown
    assert "| `lucid`, untrained |" in shown
    assert "| `lucid`, deranged |" in shown
    assert "| `lucid` | budget 2, sparsity 1 | 2 |" in shown
    assert "| `lucid` | deranged | 1 |" in shown
    assert Path("docs/results.svg").read_bytes().startswith(b"<?xml")


def test_two_pages_of_the_same_trainings_are_the_same_bytes(params: Params) -> None:
    write_study(params, STUDY)
    first = [Path("docs/results.md").read_bytes(), Path("docs/results.svg").read_bytes()]
    write_study(params, STUDY)
    assert [Path("docs/results.md").read_bytes(), Path("docs/results.svg").read_bytes()] == first


def test_classification_and_hallucination_are_shown_where_they_are_measured(params: Params) -> None:
    write_study(params, STUDY)
    assert "Hallucination" not in page()
    write_sealed(Path("study/classification/lucid.json"), {"runs": ["a", "b"], "tasks": {"easy": TASK}})
    Path("runs/hallucination").mkdir(parents=True)
    write_sealed(Path("runs/hallucination/metrics.json"), {"random/0": POLL})
    write_study(params, STUDY)
    assert "| `lucid`, untrained | +25.0 ± 1.0 ± 2.0 |" in page()
    assert "### Random negatives" in page()


def test_supervised_probes_are_a_row_of_their_own(params: Params) -> None:
    write_sealed(Path("study/ceiling.json"), {"concepts": {"joint": {"mean": 0.95}}})
    write_study(params, STUDY)
    assert "| `supervised probe` |" in page()
    assert "| 0.950 |" in page()


def test_two_trainings_matched_on_one_side_are_rows_of_their_own(measured: Path, params: Params) -> None:
    one, other = (measured / "study/runs" / trial.folder for trial in DONE[:2])
    Path("study").mkdir(exist_ok=True)
    measure_same_side(params, (one, other), SAME_SIDE)
    assert read_sealed(SAME_SIDE, "")["text"]["concepts"]["joint"]["mean"] > 0
    write_study(params, STUDY)
    assert "| `same side`, pictures |" in page()
    assert "| `same side`, captions |" in page()
    with pytest.raises(RunError, match=r"was trained from the seed 0, as .*seed-0 was"):
        measure_same_side(params, (one, one), SAME_SIDE)


def test_a_study_of_which_nothing_is_measured_says_so(params: Params) -> None:
    shutil.rmtree("study")
    write_study(params, STUDY)
    assert "0 of 10 trainings" in page()
    assert "not known yet" in page()


def file_of(trial: Trial) -> Path:
    return Path("study/measured") / trial.file


def change(trial: Trial, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the file of a training says, and seal it again."""
    values = read_sealed(file_of(trial), "")
    change(values)
    write_sealed(file_of(trial), values)


def test_a_measurement_is_a_small_file_with_all_figures_of_its_run(measured: Path, params: Params) -> None:
    trial = DONE[2]
    found = read_measurement(file_of(trial), "")
    run = measured / "study/runs" / trial.folder
    figures, shown = (dict(json_leaves(values)) for values in (read_metrics(run), found.figures))
    assert shown.keys() == figures.keys()
    assert [
        key for key in figures if shown[key] != figures[key] and not close(shown[key], figures[key])
    ] == []
    assert found.options == options_of(trial, params, STUDY).decisive()
    assert found.model_blake3 == model_seal(run)
    assert found.activations["train"] == training_of(run)["cache"]
    assert (found.software["commit"], found.machine["threads"]) == (
        software()["commit"],
        torch.get_num_threads(),
    )
    assert min(found.seconds) >= 0
    assert file_of(trial).stat().st_size < 10_000
    assert file_of(trial).read_text(encoding="utf-8").count("\n") == 1


def test_the_study_measures_more_than_the_options_ask_for_and_probes_some_seeds(params: Params) -> None:
    assert (params.evaluate.changed_captions, params.evaluate.probes) == (0, False)
    first, second = (read_measurement(file_of(trial), "").figures for trial in DONE[:2])
    assert "edits" in str(first)
    assert "probes" not in first
    assert "probes" in second


def close(one: str, other: str) -> bool:
    return float(one) == pytest.approx(float(other), rel=1e-5)


def test_a_measurement_in_place_of_another_is_refused_and_not_averaged(params: Params) -> None:
    one, other = map(file_of, DONE[:2])
    shutil.copy(one, other)
    told = rf"{other}: holds another training.*train\.seed: 0 and not 1.*`concord repeat lucid --seed 1"
    with pytest.raises(RunError, match=told):
        write_study(params, STUDY)


def test_a_recipe_that_changed_leaves_its_measurements_stale_by_name(params: Params) -> None:
    change_params(Path(), "interpret", threshold=0.75)
    told = rf"{file_of(DONE[0])}: .*interpret\.threshold: 0\.5 and not 0\.75"
    with pytest.raises(RunError, match=told):
        write_study(load_params(Path("params.yaml")), STUDY)


def test_an_option_that_there_was_none_of_is_at_its_default(params: Params) -> None:
    change(DONE[0], lambda values: values["options"]["sae"].pop("contrast"))
    write_study(params, STUDY)
    change(DONE[0], lambda values: values["options"]["sae"].update(contrary=1))
    with pytest.raises(RunError, match=r"options of an earlier release: sae\.contrary: no such option"):
        write_study(params, STUDY)


@pytest.mark.parametrize(("split", "told"), [("val", "ab"), ("train", "cd")])
def test_figures_of_another_cache_are_refused_and_not_averaged(params: Params, split: str, told: str) -> None:
    change(DONE[1], lambda values: values["activations"][split].update(manifest_sha256=told))
    told = (
        rf'{file_of(DONE[1])}: was measured on another .* than {file_of(DONE[0])}.*{split}.*"{told}" and not'
    )
    with pytest.raises(RunError, match=told):
        write_study(params, STUDY)


def test_the_page_says_at_which_commits_and_on_which_processors_it_was_measured(params: Params) -> None:
    def elsewhere(values: dict[str, Any]) -> None:
        values["software"] |= {"commit": "0123456789abcdef", "edited": True}
        values["machine"] = {"processor": "Abacus 2", "threads": 3}
        values["activations"]["train"]["content_blake3"] = "rounded otherwise"

    change(DONE[0], elsewhere)
    write_study(params, STUDY)
    assert f"| 0123456789 (edited) | {torch.__version__.split('+')[0]} | Abacus 2 | 3 | 1 |" in page()
    assert page().count("| 4 | ## ") == 1
    assert "encoded 2 times" in page()


def test_what_is_no_measurement_is_refused(params: Params) -> None:
    write_sealed(file_of(DONE[0]), {"figures": {}})
    with pytest.raises(RunError, match="is no measurement of a training; `concord repeat lucid"):
        write_study(params, STUDY)


def test_a_candidate_goes_on_with_what_is_not_measured_as_the_study_asks(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Trial] = []
    monkeypatch.setattr("stages.repeat.repeat_variant", lambda params, study, trial: done.append(trial))
    shutil.copy(file_of(DONE[1]), file_of(DONE[0]))  # of another seed
    file_of(DONE[2]).write_text("cut", encoding="utf-8")
    repeat_candidate(params, STUDY, "lucid")
    assert done == [trial for trial in STUDY.trials() if trial not in DONE[1:2] + DONE[3:]]
    with pytest.raises(ConfigError, match=r"separate: is no candidate of study/params\.yaml; it has lucid"):
        repeat_candidate(params, STUDY, "separate")
