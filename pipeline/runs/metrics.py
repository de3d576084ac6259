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
    metrics = read_sealed(run / METRICS_FILE, _REMEDY)
    model = _measured(run, metrics, "model_blake3")
    if (run / MODEL_FILE).is_file() and model != (present := model_seal(run)):
        raise RunError(
            f"{run / METRICS_FILE}: was measured on another dictionary ({model:.12}) than the run now has "
            f"({present:.12}); {_REMEDY}"
        )
    return {key: value for key, value in metrics.items() if key != _MEASURED}


def refuse_other_cache(run: Path, expected: str, whose: str) -> None:
    """Check that the run's figures were measured on a certain cache.

    Args:
        run: folder of the run.
        expected: SHA-256 of the manifest of the cache.
        whose: what was measured on that cache, or is it, for the message.

    Raises:
        RunError: they were not, or there are none.
    """
    found = measured_cache(run)
    if found != expected:
        raise RunError(
            f"{run / METRICS_FILE}: was measured on another cache ({found:.12}) than {whose} ({expected:.12}); "
            f"{_REMEDY}"
        )


def measured_cache(run: Path) -> str:
    """SHA-256 of the manifest of the cache that the run's figures were measured on.

    Raises:
        RunError: there are none, or they are damaged.
    """
    return _measured(run, read_sealed(run / METRICS_FILE, _REMEDY), "cache_sha256")


def _measured(run: Path, metrics: Mapping[str, Any], key: str) -> str:
    try:
        (measured,) = metrics[_MEASURED]
        return str(measured[key])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run / METRICS_FILE}: does not say what was measured; {_REMEDY}") from None
