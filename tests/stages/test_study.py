"""The study: trainings become figures, docs/results.md sets side by side what is there, and lists what is left."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from micro_project import working_in, write_project

from pipeline.errors import RunError
from pipeline.params import Params, load_params
from pipeline.runs.seal import read_sealed, write_sealed
from pipeline.study.options import StudyOptions, Trial
from stages.repeat import repeat_variant
from stages.study import write_study
from stages.trial import recipe_of

STUDY = StudyOptions(
    candidates=["lucid"],
    baseline="lucid",
    controlled=["lucid"],
    controls=["untrained", "deranged"],
    seeds=[0, 1],
    budgets=[1, 2],
    sparsities=[1, 2],
    classify=["lucid"],
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
    with working_in(folder):
        for trial in DONE:
            repeat_variant(load_params(Path("params.yaml")), trial)
    return folder


@pytest.fixture
def params(measured: Path, tmp_path: Path) -> Iterator[Params]:
    """The options of a copy of that project, which is the working directory."""
    shutil.copytree(measured / "study", tmp_path / "study")
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
    assert "5 of 12 trainings" in shown
    assert "## The recipes' own epochs, their active latents" in shown
    assert "## 2 times the recipes' epochs, 1/2 of their active latents" in shown
    assert "| `lucid`, untrained |" in shown
    assert "| `lucid`, deranged |" in shown
    assert "| budget 2, sparsity 1 | 2 |" in shown
    assert "| deranged | 1 |" in shown
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
    (row,) = [line for line in page().split("|") if "supervised probe" in line][:1]
    assert row.strip() == "`supervised probe`"
    assert "| 0.950 |" in page()


def test_a_study_of_which_nothing_is_measured_says_so(params: Params) -> None:
    shutil.rmtree("study")
    write_study(params, STUDY)
    assert "0 of 12 trainings" in page()
    assert "not known yet" in page()


def test_a_run_in_place_of_another_is_refused_and_not_averaged(params: Params) -> None:
    one, other = (Path("study/runs") / trial.folder for trial in DONE[:2])
    shutil.rmtree(other)
    shutil.copytree(one, other)
    with pytest.raises(RunError, match=rf"{other}: holds another training.*train\.seed: 0 and not 1"):
        write_study(params, STUDY)


def test_figures_of_another_cache_are_refused_and_not_averaged(params: Params) -> None:
    file = Path("study/runs") / DONE[1].folder / "metrics.json"
    metrics = read_sealed(file, "")
    metrics["measured"][0]["cache_sha256"] = "of another cache"
    write_sealed(file, metrics)
    with pytest.raises(RunError, match="was measured on another cache"):
        write_study(params, STUDY)
