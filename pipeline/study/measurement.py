"""What one training of the study gave, in a small file of its own: the page needs nothing else, and git keeps it."""

from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import RunError
from pipeline.runs.config import training_of
from pipeline.runs.metrics import measured_cache, read_metrics
from pipeline.runs.model_file import model_seal
from pipeline.runs.processor import processor_name
from pipeline.runs.seal import read_sealed, write_sealed

_DIGITS = 6


class Seconds(NamedTuple):
    """How long the parts of one training of the study took; of one that was interrupted, since it went on."""

    training: float
    naming: float
    measuring: float


class Measurement(NamedTuple):
    """Figures of one training, and all that says what they are of. Every attribute but `seconds` is plain JSON.

    Attributes:
        options: all options that decide the figures, by section.
        activations: what was trained and measured on: the backbone, and by split the identity of the cache.
        model_blake3: seal of the dictionary, which the same machine gets again.
        figures: as `metrics.json` has them, with six significant digits: the next differ between processors.
        seconds: how long it took.
        software: versions of the libraries, the commit of this code, and whether it was edited.
        machine: name of the processor, and threads that torch computed with.
    """

    options: dict[str, Any]
    activations: dict[str, Any]
    model_blake3: str
    figures: dict[str, Any]
    seconds: Seconds
    software: dict[str, Any]
    machine: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What figures that stand side by side have in common: the activations, but for how a processor rounds them."""
        return {
            part: {key: value for key, value in values.items() if key != "content_blake3"}
            for part, values in self.activations.items()
        }


def measurement_of(
    run: Path, options: dict[str, Any], seconds: Seconds, software: dict[str, Any], threads: int
) -> Measurement:
    """Collect what the folder `run` says of its training.

    Raises:
        RunError: the run is not measured, is damaged, or does not say what it was trained on.
    """
    training = training_of(run)
    backbone = {key: training["backbone"][key] for key in ("model", "weights_sha256")}
    return Measurement(
        options=options,
        activations={
            "backbone": backbone,
            "train": training["cache"],
            "val": {"manifest_sha256": measured_cache(run)},
        },
        model_blake3=model_seal(run),
        figures=_rounded(read_metrics(run)),
        seconds=seconds,
        software=software,
        machine={"processor": processor_name(), "threads": threads},
    )


def write_measurement(file: Path, measurement: Measurement) -> None:
    """Replace `file` by the measurement, as sealed JSON in one line.

    Raises:
        RunError: a figure is not finite, or the file cannot be written.
    """
    values = measurement._asdict() | {"seconds": measurement.seconds._asdict()}
    write_sealed(file, values, compact=True)


def read_measurement(file: Path, remedy: str) -> Measurement:
    """The measurement in `file`.

    Raises:
        RunError: it is missing, damaged, or no measurement; ends with the `remedy`.
    """
    values = read_sealed(file, remedy)
    try:
        return Measurement(**values | {"seconds": Seconds(**values["seconds"])})
    except (KeyError, TypeError):
        raise RunError(f"{file}: is no measurement of a training; {remedy}") from None


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
