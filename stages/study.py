"""Write what the trainings of the study say together: a page, and a drawing at its head."""

from pathlib import Path
from typing import Any

from pipeline.classification.table import classification_tables
from pipeline.figures.recipes import draw_recipes
from pipeline.figures.style import save_figure
from pipeline.language_models.table import hallucination_tables
from pipeline.params import Params
from pipeline.runs.config import finished_identity
from pipeline.runs.files import replace_file
from pipeline.runs.identity import refuse_differences
from pipeline.runs.metrics import METRICS_FILE, measured_cache, read_metrics, refuse_other_cache
from pipeline.runs.seal import read_sealed
from pipeline.study.claims import by_seed
from pipeline.study.options import StudyOptions, Trial
from pipeline.study.page import HEADLINE, Measured, results_page, setting_figures
from stages.paths import CEILING, RUNS, STUDY, STUDY_RUNS
from stages.trial import SECONDS_FILE, recipe_of

PAGE, DRAWING = Path("docs/results.md"), Path("docs/results.svg")
CLASSIFICATION = STUDY / "classification"
HALLUCINATION = RUNS / "hallucination" / METRICS_FILE

_REMEDY = "`dvc repro study/dvc.yaml` measures it again"


def write_study(params: Params, study: StudyOptions) -> None:
    """Write `docs/results.md` and `docs/results.svg` from the trainings that are measured; the rest is listed as left.

    Probes of `concord ceiling` are a row of their own. Below the tables those of the variants that classify pictures,
    and of `concord hallucination`, where they are there.

    Raises:
        RunError: a run is of other options, of another seed or of another cache than it stands for, or is damaged.
    """
    folders = {trial: STUDY_RUNS / trial.folder for trial in study.trials()}
    done = {trial: run for trial, run in folders.items() if (run / METRICS_FILE).exists()}
    measured = {trial: _metrics(trial, run, next(iter(done.values())), params) for trial, run in done.items()}
    seconds = {trial: _seconds(run) for trial, run in done.items()}
    probes = read_sealed(CEILING, _REMEDY) if CEILING.exists() else None
    text = results_page(study, measured, seconds, probes)
    files = {name: CLASSIFICATION / f"{name}.json" for name in study.classify}
    classified = {name: read_sealed(file, _REMEDY) for name, file in files.items() if file.exists()}
    if classified:
        text += f"\n{classification_tables(classified)}"
    if HALLUCINATION.exists():
        text += f"\n{hallucination_tables(read_sealed(HALLUCINATION, _REMEDY))}"
    replace_file(PAGE, text.encode())
    save_figure(draw_recipes(_panels(study, measured)), DRAWING)


def _metrics(trial: Trial, run: Path, first: Path, params: Params) -> dict[str, Any]:
    """What was measured of a run, which is of this training, and on the cache that the run `first` is of."""
    recipe = recipe_of(trial, params)
    expected = {
        **finished_identity(first),
        "sae": recipe.sae.model_dump(mode="json"),
        "train": recipe.train.decisive(),
    }
    what = f"{run}: holds another training than the study asks for"
    refuse_differences(what, finished_identity(run), expected, _REMEDY)
    refuse_other_cache(run, measured_cache(first), f"{first}")
    return read_metrics(run)


def _seconds(run: Path) -> float:
    return float(read_sealed(run / SECONDS_FILE, _REMEDY)["seconds"])


def _panels(study: StudyOptions, measured: Measured) -> dict[str, dict[str, dict[str, list[float]]]]:
    """What the drawing shows: of each headline figure, every row at every setting."""
    settings = {
        f"budget {budget}, sparsity {sparsity}": setting_figures(study, measured, budget, sparsity)
        for budget, sparsity in study.settings
    }
    return {
        title: {
            name: {row: list(by_seed(figures, row, key).values()) for row in figures}
            for name, figures in settings.items()
            if figures
        }
        for key, title in HEADLINE.items()
    }
