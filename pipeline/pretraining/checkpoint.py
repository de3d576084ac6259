"""Checkpoints of the training as one safetensors file: weights, the loss's own parameters, optimizer states."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, objective: nn.Module, optimizers: list[Optimizer]
) -> None:
    """Replace the checkpoint in `folder` by the state after `step` steps; a crash leaves the old one."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"objective.{name}": tensor for name, tensor in objective.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{parameter}.{name}": value for name, value in state.items()}
    path = folder / CHECKPOINT_FILE
    unfinished = path.with_suffix(".part")
    save_file({name: t.contiguous() for name, t in tensors.items()}, unfinished, {"step": str(step)})
    unfinished.replace(path)


def load_checkpoint(folder: Path, model: nn.Module, objective: nn.Module, optimizers: list[Optimizer]) -> int:
    """Restore the checkpoint in `folder`; returns the number of steps done, 0 if there is none."""
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
    tensors = load_file(path)
    model.load_state_dict(_under("model.", tensors))
    objective.load_state_dict(_under("objective.", tensors))
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(f"optimizer.{number}.", tensors).items():
            parameter, entry = name.split(".", 1)
            state.setdefault(int(parameter), {})[entry] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return step


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
