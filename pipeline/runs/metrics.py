"""`metrics.json` of a run: its figures, tied to the dictionary and the cache that they were measured on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.runs.model_file import MODEL_FILE, model_seal
from pipeline.runs.seal import read_sealed, write_sealed

METRICS_FILE = "metrics.json"
_MEASURED = "measured"
_REMEDY = "run `concord evaluate` again"


def write_metrics(run: Path, metrics: Mapping[str, Any], cache: ActivationCache) -> None:
    """Replace the run's metrics; they say of which model and of which cache they are, in a list, which DVC ignores.

    Raises:
        RunError: a figure is not finite, or the file cannot be written.
    """
    measured = {"model_blake3": model_seal(run), "cache_sha256": cache.manifest.sha256}
    write_sealed(run / METRICS_FILE, {**metrics, _MEASURED: [measured]})


def read_metrics(run: Path) -> dict[str, Any]:
    """The figures that were measured of the run's dictionary.

    Raises:
        RunError: there are none, they are damaged, or they are those of another dictionary than the run's, such as one
            that was trained before it.
    """
    path = run / METRICS_FILE
    metrics = read_sealed(path, _REMEDY)
    try:
        (measured,) = metrics.pop(_MEASURED)
        model = measured["model_blake3"]
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path}: does not say what was measured; {_REMEDY}") from None
    if (run / MODEL_FILE).is_file() and model != (present := model_seal(run)):
        raise RunError(
            f"{path}: was measured on another dictionary ({model:.12}) than the run now has ({present:.12}); {_REMEDY}"
        )
    return metrics
