"""A model's weights, read from a file without ever running code, and fitted tensor by tensor."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.backbone.refusal import first_line
from pipeline.errors import BackboneError

_BIG_VISION = (".npz", ".npy")
_NAMED = 3
"""So many tensors are named of those that do not fit."""


def refuse_stand_in(file: Path, key: str) -> None:
    """Refuse what stands where weights should be, by its first bytes.

    Raises:
        BackboneError: it is empty, a web page, or git-lfs's pointer; or cannot be read.
    """
    where = f"{key}: {file}"
    try:
        with file.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise BackboneError(f"{where}: cannot be read: {first_line(error)}") from error
    for sign, what in {
        b"version https://git-lfs": "is git-lfs's pointer to weights; fetch them with git lfs pull",
        b"<": "is a web page; fetch the file itself, by its address for downloads",
    }.items():
        if start.lstrip().startswith(sign):
            raise BackboneError(f"{where}: {what}")
    if not start:
        raise BackboneError(f"{where}: is empty; take it anew from its source")


def load_weights(model: nn.Module, file: Path, key: str) -> None:
    """Fill all of the model's tensors from a file; nothing in the file is run.

    Args:
        model: takes the tensors, in its own number format.
        file: safetensors, or what `torch.save` writes of tensors alone, or SigLIP's `.npz`.
        key: the option that names the file.

    Raises:
        BackboneError: it is no file of weights, or they are another model's.
    """
    where = f"{key}: {file}"
    if file.suffix in _BIG_VISION:
        try:
            open_clip.load_checkpoint(model, str(file))
        except Exception as error:
            raise BackboneError(
                f"{where}: does not fit the model: {first_line(error)}; give the file of this model"
            ) from error
    else:
        _fill(model, _converted(model, _read(file, where), where), where)
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise BackboneError(
                f"{where}: {name} holds values that are not finite; take the file anew from its source"
            )


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over all tensors in the order of their names: the same however the weights were stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(file: Path, where: str) -> dict[str, Tensor]:
    try:
        content = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except MemoryError:
        raise
    except Exception as error:  # of safetensors', pickle's, zip's, torch's and the system's kinds
        # Torch's own advice is to run the code in the file.
        reason = (
            "it is no pickle of tensors alone" if isinstance(error, UnpicklingError) else first_line(error)
        )
        raise BackboneError(
            f"{where}: holds no weights that can be read: {reason}; it has to be safetensors, or tensors "
            "alone as torch.save writes them: code in a file is never run"
        ) from error
    tensors = content.get("state_dict", content) if isinstance(content, dict) else content
    if (
        not isinstance(tensors, dict)
        or not tensors
        or not all(isinstance(t, Tensor) for t in tensors.values())
    ):
        kind = "an empty one" if tensors in ({}, []) else type(tensors).__name__
        raise BackboneError(
            f"{where}: holds no table of tensors by name but {kind}; give a model's state_dict"
        )
    return {str(name): tensor for name, tensor in tensors.items()}


def _converted(model: nn.Module, tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors as this model calls them, from the older layouts that open_clip knows."""
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    try:
        tensors = convert_state_dict(model, tensors)
    except Exception as error:
        raise BackboneError(
            f"{where}: does not fit the model: {first_line(error)}; give the file of this model"
        ) from error
    if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
        tensors = convert_to_custom_text_state_dict(tensors)
    for name in ("logit_scale", "logit_bias"):  # of the loss alone: a number, or an array of one
        own = getattr(model, name)
        if own is None:
            tensors.pop(name, None)
        elif name not in tensors or tensors[name].numel() == own.numel():
            tensors[name] = tensors.get(name, own.detach()).reshape(own.shape)
    return tensors


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    wanted = model.state_dict()
    shapes = [
        f"{name} is {_described(tensors[name])} in the file and {_described(tensor)} in the model"
        for name, tensor in wanted.items()
        if name in tensors and _described(tensors[name]) != _described(tensor)
    ]
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted]
    problems = [
        text
        for what, found in (("", shapes), ("missing: ", missing), ("unknown to the model: ", unknown))
        if (text := _first(what, found))
    ]
    if problems:
        raise BackboneError(
            f"{where}: does not fit the model: {'; '.join(problems)}; give the weights of this model, or the model of "
            "these weights"
        )
    model.load_state_dict(tensors)


def _described(tensor: Tensor) -> str:
    kind = "" if tensor.dtype.is_floating_point else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return f"{list(tensor.shape)}{kind}"


def _first(what: str, found: list[str]) -> str:
    if not found:
        return ""
    rest = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return what + ", ".join(found[:_NAMED]) + rest
