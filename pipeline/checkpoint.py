"""Training checkpoints: one safetensors file, replaced atomically, from which a run goes on bit for bit."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.errors import RunError

Record = dict[str, float]


class Progress(NamedTuple):
    """How far a run has come: steps done, and every record logged so far."""

    step: int
    history: list[Record]


class TrainingState(NamedTuple):
    """All that training changes, in place: modules by name, and the optimisers of their parameters."""

    modules: Mapping[str, nn.Module]
    optimizers: Sequence[Optimizer]


def save_checkpoint(path: Path, identity: str, state: TrainingState, progress: Progress) -> None:
    """Write weights, buffers, optimiser moments and progress; a crash leaves the previous checkpoint whole.

    Args:
        path: The checkpoint file; its folder is created.
        identity: Digest of all that decides the run's result. A checkpoint of another identity is not resumed.
        state: What is being trained.
        progress: Steps done and records logged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    metadata = {"identity": identity, "step": str(progress.step), "history": json.dumps(progress.history)}
    save_file({name: tensor.contiguous() for name, tensor in _tensors(state).items()}, partial, metadata)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, identity: str, state: TrainingState) -> Progress:
    """Restore a run from `path` in place, or report that there is nothing to resume.

    Returns:
        The stored progress; step 0 and no history when there is no checkpoint of this identity.

    Raises:
        RunError: the file exists but cannot be read.
    """
    if not path.exists():
        return Progress(0, [])
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            if metadata["identity"] != identity:
                return Progress(0, [])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError) as error:
        raise RunError(
            f"{path}: not a readable checkpoint ({error}); delete it to train from the start"
        ) from error
    _restore(state, tensors)
    return Progress(int(metadata["step"]), json.loads(metadata["history"]))


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
