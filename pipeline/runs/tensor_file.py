"""Sealed safetensors files: tensors with text beside them, written whole, checked when they are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cache import regular_file, shown_text
from pipeline.errors import RunError, os_error_reason
from pipeline.runs.files import replacing
from pipeline.runs.seal import SEAL_KEY, UNSEALED, sealed

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_METADATA = "__metadata__"


class Layout(NamedTuple):
    """Type, by its name in safetensors files, and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        """The layout of `tensor`, wherever it is."""
        return cls(_NAMES[tensor.dtype], tuple(tensor.shape))

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


class Header(NamedTuple):
    """What a file says before its tensors: texts by key, and the layout of every tensor by name."""

    texts: dict[str, str]
    layouts: dict[str, Layout]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Replace `path` by these tensors and texts; the same ones give the same bytes.

    Raises:
        RunError: the file cannot be written.
    """
    stored = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    }
    header: dict[str, object] = {_METADATA: {**texts, SEAL_KEY: UNSEALED}}
    end = 0
    for name, tensor in stored.items():
        start, end = end, end + tensor.nbytes
        dtype, shape = Layout.of(tensor)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that every tensor lies at a multiple of its type's size
    parts = [tensor.reshape(-1).view(torch.uint8).numpy().data for tensor in stored.values()]
    with replacing(path) as file:
        file.write(sealed(len(text).to_bytes(8, "little") + text, *parts))
        for part in parts:
            file.write(part)


def read_header(path: Path, remedy: str) -> Header:
    """What `path` holds, without reading a tensor.

    Args:
        path: the file.
        remedy: what to do if it is not a file that `write_tensors` wrote.

    Raises:
        RunError: the file is missing, cannot be read, or is no whole safetensors file.
    """
    try:
        regular_file(path).close()  # a named pipe would be waited for without end
        with safe_open(path, framework="pt") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            layouts = {
                name: Layout(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()
            }
            return Header(stored.metadata() or {}, layouts)
    except SafetensorError as error:
        raise RunError(f"{path}: not a whole safetensors file ({shown_text(error)}); {remedy}") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {os_error_reason(error)}; {remedy}") from None


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """Every tensor of a file, on the CPU, by name; they may not be those that were written: `check_seal` tells.

    Raises:
        RunError: as `read_header`.
    """
    read_header(path, remedy)
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
