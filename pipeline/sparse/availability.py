"""Which faster paths a device takes, and how. Where it takes none, torch's ordinary operations compute the same."""

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor

LEAST_CAPABILITY = (8, 0)
"""Oldest GPU generation the kernels are written for: Ampere, the first with bfloat16 arithmetic."""

KERNEL_DTYPES = (torch.float32, torch.bfloat16)
"""What the kernels read; they add in float32. Anything else, such as float64, takes the eager path."""

LAUNCH_OPTIONS = {"enable_fp_fusion": True}
"""Multiply and add in one instruction, rounded once. Asked of Triton's compiler, because the default differs between
its versions, and the same codes should give the same sums with each."""


def runs_on_triton(*tensors: Tensor) -> bool:
    """Tell whether the kernels take these floating-point tensors, which are all on one device."""
    return triton_reason(tensors[0].device) is None and all(t.dtype in KERNEL_DTYPES for t in tensors)


@cache
def triton_reason(device: torch.device) -> str | None:
    """Say why Triton kernels cannot run on tensors of `device`, in one line; None if they can.

    With TRITON_INTERPRET=1 in the environment when the process starts, Triton interprets kernels on the CPU,
    which is how they are tested without a GPU.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if device.type == "cpu":
        return None if os.environ.get("TRITON_INTERPRET") == "1" else "the device is a CPU"
    if device.type != "cuda":
        return f"the kernels are written for CUDA devices, not for {device.type!r}"
    return _cuda_reason(device)


def onednn_reason(device: torch.device) -> str | None:
    """Say why oneDNN does not encode float32 activations on `device`, in one line; None if it does."""
    if device.type != "cpu":
        return f"the device is {device.type!r}"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "torch is built without it"
    return None if torch.backends.mkldnn.enabled else "torch.backends.mkldnn is switched off"


def _cuda_reason(device: torch.device) -> str | None:
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if torch.version.hip is not None:
        return "torch is built for ROCm, where the kernels are untested"
    capability = torch.cuda.get_device_capability(device)
    if capability >= LEAST_CAPABILITY:
        return None
    found, needed = (".".join(map(str, version)) for version in (capability, LEAST_CAPABILITY))
    return f"{torch.cuda.get_device_name(device)} has compute capability {found}, the kernels need {needed}"
