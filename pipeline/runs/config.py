"""`config.json` of a run: how its dictionary is built, what decided its weights, and what its curves are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from cache import ActivationCache, sync
from pipeline.errors import RunError, os_error_reason
from pipeline.runs.identity import refuse_differences
from pipeline.runs.seal import read_sealed

CONFIG_FILE = "config.json"
CURVES_FOLDER = "curves"
RETRAIN = "train the variant again"


def training_identity(train: Mapping[str, Any], cache: ActivationCache) -> dict[str, Any]:
    """What decides the weights of a dictionary beside its own options: plain JSON, the same on every machine.

    Args:
        train: options of the training that decide weights.
        cache: what it is trained on.
    """
    manifest = cache.manifest
    return {
        "train": dict(train),
        "backbone": manifest.backbone,
        "dataset": manifest.dataset,
        "storage_dtype": manifest.storage_dtype,
        "cache": {"manifest_sha256": manifest.sha256, "content_blake3": cache.content_blake3},
    }


def training_of(run: Path) -> dict[str, Any]:
    """What decided the weights of the run's dictionary beside its own options, see `training_identity`.

    Raises:
        RunError: the run does not say, or its configuration cannot be read.
    """
    training = read_sealed(run / CONFIG_FILE, RETRAIN).get("training")
    if not isinstance(training, dict):
        raise RunError(f"{run / CONFIG_FILE}: does not say what the run was trained on; {RETRAIN}")
    return training


def finished_identity(run: Path) -> dict[str, Any]:
    """What decided the weights of the run's dictionary: its own options, under "sae", and `training_identity`.

    Raises:
        RunError: the run's configuration cannot be read.
    """
    config = read_sealed(run / CONFIG_FILE, RETRAIN)
    return {"sae": config["options"], **(config["training"] or {})}


def refuse_other_backbone(run: Path, backbone: Mapping[str, Any], whose: str) -> None:
    """Check that the dictionary of a run was trained on activations of this backbone.

    Args:
        run: folder of the run.
        backbone: identity of a backbone.
        whose: what has this backbone, for the message.

    Raises:
        RunError: it was not, naming what differs and both values; or the run does not say; or it cannot be read.
    """
    refuse_differences(
        f"{run}: was trained on activations of another backbone than {whose}",
        {"backbone": training_of(run)["backbone"]},
        {"backbone": dict(backbone)},
        "choose the options that it was trained with, or train it again",
    )


def curve_digests(run: Path) -> dict[str, str]:
    """BLAKE3 of every file of the run's training curves by its path in their folder; they are made durable, too.

    Raises:
        RunError: one cannot be read.
    """
    folder = run / CURVES_FOLDER
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    try:
        for path in files:
            sync(path)
        return {path.relative_to(folder).as_posix(): blake3(path.read_bytes()).hexdigest() for path in files}
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {os_error_reason(error)}") from None


def check_curves(run: Path) -> None:
    """Compare the curves in a run's folder with what its configuration says of them, if it says anything.

    Raises:
        RunError: they are not those of the training that the run's dictionary comes from.
    """
    config = run / CONFIG_FILE
    expected = read_sealed(config, RETRAIN).get("curves") if config.exists() else None
    if expected is None:
        return
    found = curve_digests(run)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            problem = "is missing" if name not in found else "is not what the training of this run wrote"
            raise RunError(f"{run / CURVES_FOLDER / name}: {problem}; {RETRAIN}")
