"""Training checkpoints: one safetensors file, replaced atomically, from which a run goes on bit for bit."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from cache import shown_text
from pipeline.errors import RunError
from pipeline.runs.identity import refuse_differences
from pipeline.runs.seal import check_seal
from pipeline.runs.tensor_file import read_header, read_tensors, write_tensors

CHECKPOINT_FILE = "checkpoint.safetensors"
LossRecord = dict[str, float]
"""The losses of one step by term, and the `step`."""

_REMEDY = "delete it to train from the start"


class Progress(NamedTuple):
    """How far a run has come: steps done, and every record logged so far."""

    step: int
    history: list[LossRecord]


class CheckpointHeader(NamedTuple):
    """What a checkpoint is of: the identity of its run, the steps done, and every record logged so far."""

    identity: dict[str, Any]
    step: int
    history: list[LossRecord]


class TrainingState(NamedTuple):
    """All that training changes, in place: modules by name, and the optimisers of their parameters."""

    modules: Mapping[str, nn.Module]
    optimizers: Sequence[Optimizer]


def save_checkpoint(
    path: Path, identity: Mapping[str, Any], state: TrainingState, progress: Progress
) -> None:
    """Write weights, buffers, optimiser moments and progress; the previous checkpoint stays whole until this one is.

    Args:
        path: The checkpoint file; its folder is created.
        identity: Plain JSON that says all that decides the run's result.
        state: What is being trained.
        progress: Steps done and records logged.

    Raises:
        RunError: the file cannot be written; the previous checkpoint is still there.
    """
    texts = {
        "identity": json.dumps(identity, sort_keys=True),
        "step": str(progress.step),
        "history": json.dumps(progress.history),
    }
    write_tensors(path, _tensors(state), texts)


def load_checkpoint(path: Path, identity: Mapping[str, Any], state: TrainingState) -> Progress:
    """Restore a run from `path` in place, or report that there is nothing to resume.

    Returns:
        The stored progress; step 0 and no history when there is no checkpoint.

    Raises:
        RunError: the file exists but cannot be read, is not what was written, or is of another identity.
    """
    if not path.exists():
        return Progress(0, [])
    header = read_checkpoint(path)
    check_seal(path, _REMEDY)
    refuse_differences(
        f"{path}: a checkpoint of another training (step {header.step})",
        header.identity,
        identity,
        "go back to its options to go on with it, or delete it to train from the start",
    )
    tensors = read_tensors(path, _REMEDY)
    try:
        _restore(state, tensors)
    except (RuntimeError, KeyError, ValueError) as error:
        raise RunError(f"{path}: does not fit what is trained ({shown_text(error)}); {_REMEDY}") from None
    return Progress(header.step, header.history)


def read_checkpoint(path: Path) -> CheckpointHeader:
    """What a checkpoint says of itself, without its tensors and before they are checked.

    Raises:
        RunError: the file cannot be read or is not a checkpoint.
    """
    texts = read_header(path, _REMEDY).texts
    try:
        identity, history = json.loads(texts["identity"]), json.loads(texts["history"])
        return CheckpointHeader(identity, int(texts["step"]), history)
    except (KeyError, ValueError):
        raise RunError(f"{path}: not a checkpoint of this version; {_REMEDY}") from None


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    tensors = {
        f"{module}.{name}": tensor
        for module, trained in state.modules.items()
        for name, tensor in trained.state_dict().items()
    }
    for number, optimizer in enumerate(state.optimizers):
        for parameter, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{parameter}.{name}": value for name, value in moments.items()}
    return tensors


def _restore(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    for module, trained in state.modules.items():
        trained.load_state_dict(_under(f"{module}.", tensors))
    for number, optimizer in enumerate(state.optimizers):
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(f"optimizer.{number}.", tensors).items():
            parameter, entry = name.split(".")
            moments.setdefault(int(parameter), {})[entry] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
