"""Training checkpoints: one safetensors file, replaced atomically, from which a run goes on bit for bit."""

import json
import os
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


def save_checkpoint(
    path: Path, identity: str, sae: nn.Module, optimizer: Optimizer, progress: Progress
) -> None:
    """Write weights, buffers, optimiser moments and progress; a crash leaves the previous checkpoint whole.

    Args:
        path: The checkpoint file; its folder is created.
        identity: Digest of all that decides the run's result. A checkpoint of another identity is not resumed.
        sae: The dictionary in training.
        optimizer: Its optimiser.
        progress: Steps done and records logged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"sae.{name}": tensor for name, tensor in sae.state_dict().items()}
    tensors |= _optimizer_tensors(optimizer)
    partial = path.with_name(path.name + ".partial")
    metadata = {"identity": identity, "step": str(progress.step), "history": json.dumps(progress.history)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, identity: str, sae: nn.Module, optimizer: Optimizer) -> Progress:
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
    sae.load_state_dict(
        {name.removeprefix("sae."): t for name, t in tensors.items() if name.startswith("sae.")}
    )
    _restore_optimizer(optimizer, tensors)
    return Progress(int(metadata["step"]), json.loads(metadata["history"]))


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": value
        for index, moments in state.items()
        for key, value in moments.items()
    }


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
