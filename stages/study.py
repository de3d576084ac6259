"""Write what the trainings of the study say together: a page, and a drawing at its head."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.classification.table import classification_tables
from pipeline.figures.recipes import draw_recipes
from pipeline.figures.style import save_figure
from pipeline.language_models.table import hallucination_tables
from pipeline.params import Params
from pipeline.runs.files import replace_file
from pipeline.runs.identity import refuse_differences
from pipeline.runs.metrics import METRICS_FILE
from pipeline.runs.seal import read_sealed
from pipeline.study.claims import by_seed
from pipeline.study.measurement import Measurement
from pipeline.study.options import StudyOptions, Trial
from pipeline.study.page import HEADLINE, results_page, setting_figures
from stages.measured_trial import measurement_as_asked, remedy_of
from stages.paths import CEILING, RUNS, SAME_SIDE, STUDY, STUDY_MEASURED

PAGE, DRAWING = Path("docs/results.md"), Path("docs/results.svg")
CLASSIFICATION = STUDY / "classification"
HALLUCINATION = RUNS / "hallucination" / METRICS_FILE

_REMEDY = "`dvc repro study/dvc.yaml` measures it again"


def write_study(params: Params, study: StudyOptions) -> None:
    """Write `docs/results.md` and `docs/results.svg` from the trainings that are measured; the rest is listed as left.

    It reads the files of `study/measured`, and no run. Probes of `concord ceiling`, and the matches of `concord
    same-side`, are rows of their own. Below the tables those of the variants that classify pictures, and of `concord
    hallucination`, where they are there.

    Raises:
        RunError: a measurement is of other options or of another cache than it stands for, or is damaged.
    """
    measured = dict(_measurements(params, study))
    architectures = {name: params.variant(name).sae.architecture for name in study.candidates}
    text = results_page(study, measured, architectures, _ceilings())
    files = {name: CLASSIFICATION / f"{name}.json" for name in study.classify}
    classified = {name: read_sealed(file, _REMEDY) for name, file in files.items() if file.exists()}
    if classified:
        text += f"\n{classification_tables(classified)}"
    if HALLUCINATION.exists():
        text += f"\n{hallucination_tables(read_sealed(HALLUCINATION, _REMEDY))}"
    replace_file(PAGE, text.encode())
    save_figure(draw_recipes(_panels(study, measured)), DRAWING)


def _ceilings() -> dict[str, dict[str, Any]]:
    """Rows of what is no dictionary of the study's, where they are there."""
    rows = {"supervised probe": read_sealed(CEILING, _REMEDY)} if CEILING.exists() else {}
    if SAME_SIDE.exists():
        found = read_sealed(SAME_SIDE, _REMEDY)
        rows |= {"same side, pictures": found["vision"], "same side, captions": found["text"]}
    return rows


def _measurements(params: Params, study: StudyOptions) -> Iterator[tuple[Trial, Measurement]]:
    """Every measurement that there is; each is of the training that it stands for, and all are of the same caches."""
    first: tuple[Trial, Measurement] | None = None
    for trial in study.trials():
        found = measurement_as_asked(trial, params, study)
        if found is None:
            continue
        first = first or (trial, found)
        file, other = (STUDY_MEASURED / one.file for one in (trial, first[0]))
        what = f"{file}: was measured on another backbone or cache than {other}"
        refuse_differences(what, found.identity, first[1].identity, remedy_of(trial))
        yield trial, found


def _panels(
    study: StudyOptions, measured: Mapping[Trial, Measurement]
) -> dict[str, dict[str, dict[str, list[float]]]]:
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
