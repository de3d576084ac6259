"""What a training of the study gave, if its file is of what the study asks for now."""

from pathlib import Path

from pipeline.errors import ConfigError, RunError
from pipeline.params import Params
from pipeline.runs.identity import refuse_differences
from pipeline.study.measurement import Measurement, read_measurement
from pipeline.study.options import StudyOptions, Trial
from stages.paths import STUDY_MEASURED
from stages.trial import TrialOptions, options_of


def measurement_as_asked(trial: Trial, params: Params, study: StudyOptions) -> Measurement | None:
    """Read what a training gave; None if it is not measured.

    Raises:
        RunError: its file is damaged, or of other options than are asked for.
    """
    file, remedy = STUDY_MEASURED / trial.file, remedy_of(trial)
    if not file.exists():
        return None
    found = read_measurement(file, remedy)
    asked = options_of(trial, params, study).decisive()
    what = f"{file}: holds another training than the study asks for"
    refuse_differences(what, _completed(found, file, remedy), asked, remedy)
    return found


def remedy_of(trial: Trial) -> str:
    """Say, for the end of a message, what measures a training again."""
    control = f" --control {trial.control}" if trial.control else ""
    return (
        f"`concord repeat {trial.variant} --seed {trial.seed} --budget {trial.budget} --sparsity {trial.sparsity}"
        f"{control}` measures it again"
    )


def _completed(found: Measurement, file: Path, remedy: str) -> dict[str, object]:
    """The options of a measurement; those that there were none of then are off, which is what they are by default."""
    try:
        return TrialOptions.parse(found.options, "").decisive()
    except ConfigError as error:
        raise RunError(
            f"{file}: was measured with options of an earlier release: {error}; {remedy}"
        ) from None
