"""What a run's folder holds before it is trained: nothing, a part of this training, all of it, or something else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.runs.checkpoint import CHECKPOINT_FILE, read_checkpoint
from pipeline.runs.config import CONFIG_FILE, RETRAIN, check_curves, finished_identity
from pipeline.runs.identity import differences, refuse_differences
from pipeline.runs.model_file import MODEL_FILE
from pipeline.runs.seal import check_seal
from pipeline.sae.saving import load_sae
from stages.progress import note

SOFTWARE_FILE = "software.json"

_REMEDY = "go back to its options, discard it (`--replace`), or choose another folder (`--run`)"
_DELETE = "go back to its options, delete it (or say `--replace`), or choose another folder (`--run`)"


def is_finished(run: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the training of this identity came to its end in `run`; if not, it may begin or go on there.

    Raises:
        RunError: the folder holds another training, finished or not, or what it holds is damaged; nothing is changed.
    """
    checkpoint = run / CHECKPOINT_FILE
    if checkpoint.exists():
        header = read_checkpoint(checkpoint)
        check_seal(checkpoint, "delete it to train from the start")
        what = f"{checkpoint}: a checkpoint of another training (step {header.step})"
        refuse_differences(what, header.identity, identity, _DELETE)
        return False
    if not any((run / name).exists() for name in (CONFIG_FILE, MODEL_FILE)):
        return False
    load_sae(run)
    refuse_differences(
        f"{run}: a finished run of another training", finished_identity(run), identity, _REMEDY
    )
    check_curves(run)
    return True


def clear_foreign(run: Path, identity: Mapping[str, Any]) -> None:
    """Discard a checkpoint that cannot be gone on from, being damaged or of another training; says so."""
    checkpoint = run / CHECKPOINT_FILE
    if not checkpoint.exists():
        return
    try:
        header = read_checkpoint(checkpoint)
        check_seal(checkpoint, RETRAIN)
        if not differences(header.identity, identity):
            return
        note(f"{checkpoint}: discarded, step {header.step} of another training")
    except RunError as error:
        note(f"{checkpoint}: discarded ({error})")
    checkpoint.unlink()
