"""docs/comparison.md holds what was measured, and says what was not."""

from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.language_models.options import HallucinationOptions, StateOptions
from pipeline.params import Params, Variant, load_params
from pipeline.results.options import StudyOptions
from pipeline.runs.seal import write_sealed
from stages.study import write_study

INTERVAL = {"mean": 0.25, "over_pictures": 0.01, "over_trainings": 0.02}
RULE = {"accuracy": INTERVAL, "difference": INTERVAL, "by_split": [[0.25, 0.25]]}
RULES = dict.fromkeys(("alpha_0", "alpha_fixed", "alpha_tuned", "concepts_only"), RULE)
TASK = {"classes": 26, "splits": 2, "test_pictures": 104, "trained": RULES, "untrained": RULES}
POLL = {"greedy": dict.fromkeys(("accuracy", "precision", "recall", "f1", "yes_ratio"), 0.5)}


def write_config(run: Path, variant: Variant, cache: str = "of the cache") -> None:
    """Say that the run is of this recipe and was trained on this cache."""
    training = {"train": variant.train.decisive(), "cache": cache}
    write_sealed(run / "config.json", {"options": variant.sae.model_dump(mode="json"), "training": training})


def write_figures(run: Path, point: float, cache: str = "of the cache") -> None:
    """Say that this was measured of the run on this cache."""
    figures = {"grounding": {"transport": {"point_at_1": point}}}
    measured = [{"model_blake3": "of the model", "cache_sha256": cache}]
    write_sealed(run / "metrics.json", {**figures, "measured": measured})


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A study of one variant over two seeds that also classifies pictures; everything is measured."""
    shipped = load_params(Path(__file__).parents[2] / "params.yaml")
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    for run, seed, point in (("runs/lucid", 0, 0.5), ("study/lucid-seed-1", 1, 0.7)):
        write_config(Path(run), shipped.variant("lucid").with_seed(seed))
        write_figures(Path(run), point)
    write_sealed(Path("study/classification/lucid.json"), {"runs": ["a", "b"], "tasks": {"easy": TASK}})
    write_sealed(Path("runs/hallucination/metrics.json"), {"random/0": POLL})
    study = StudyOptions(variants=["lucid"], seeds=[1], classify=["lucid"])
    decoder = HallucinationOptions(states=StateOptions(model="mine"))
    return shipped.model_copy(update={"study": study, "hallucination": decoder})


def test_every_measurement_has_its_table(params: Params) -> None:
    write_study(params)
    page = " ".join(Path("docs/comparison.md").read_text(encoding="utf-8").split())
    assert "seeds 0, 1; mean" in page
    assert "| 0.600 ± 0.141 |" in page
    assert "| `lucid`, untrained | +25.0 ± 1.0 ± 2.0 |" in page
    assert "### Random negatives" in page


def test_what_nobody_asked_for_is_not_there(params: Params) -> None:
    study = params.study.model_copy(update={"classify": []})
    write_study(params.model_copy(update={"study": study, "hallucination": None}))
    page = Path("docs/comparison.md").read_text(encoding="utf-8")
    assert "classification" not in page
    assert "Hallucination" not in page


@pytest.mark.parametrize(
    "missing",
    ["study/lucid-seed-1/metrics.json", "study/classification/lucid.json", "runs/hallucination/metrics.json"],
)
def test_what_is_not_measured_yet_is_named(params: Params, missing: str) -> None:
    Path(missing).unlink()
    with pytest.raises(RunError, match=f"{missing}: not measured yet; run `make study`"):
        write_study(params)
    assert not Path("docs/comparison.md").exists()


def test_a_run_in_place_of_another_is_refused_and_not_averaged(params: Params) -> None:
    run, lucid = Path("study/lucid-seed-1"), params.variant("lucid")
    refused = "holds another training than the study asks for"
    write_config(run, lucid)
    with pytest.raises(RunError, match=rf"{run}: {refused}.*train\.seed: 0 and not 1"):
        write_study(params)
    write_config(run, params.variant("shared_only").with_seed(1))
    with pytest.raises(RunError, match=rf"{run}: {refused}.*sae\.shared_ratio: 1.0 and not 0.25"):
        write_study(params)
    write_config(run, lucid.with_seed(1), cache="of another cache")
    with pytest.raises(RunError, match=rf'{run}: {refused}.*cache: "of another cache"'):
        write_study(params)


def test_figures_of_another_cache_are_refused_and_not_averaged(params: Params) -> None:
    write_figures(Path("study/lucid-seed-1"), 0.7, cache="of another cache")
    with pytest.raises(RunError, match=r"study/lucid-seed-1/metrics\.json: was measured on another cache"):
        write_study(params)
