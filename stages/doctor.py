"""What this machine will use, why, and whether it is right: the answer to "why is it slow here?"."""

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal
from rich.table import Table

from cache import ActivationCache, CacheError, available_host_bytes, choose_placement
from pipeline.errors import ConcordError
from pipeline.params import Params, load_params
from pipeline.sparse.availability import onednn_reason, triton_reason
from pipeline.training.agreement import agreements
from pipeline.training.loop import resolve_device
from pipeline.training.replay import replay_reason
from stages.paths import CACHES
from stages.terminal import Terminal

PEERS = ("overcomplete", "eai-sparsify", "dictionary-learning", "sae-lens", "POT", "geomloss")
"""The distributions that benchmarks compare with."""

Findings = dict[str, Any]
"""What was found, as `concord doctor --json` prints it."""


def examine(params: Path) -> Findings:
    """Look at the machine and run every operation once on the device that `train.device: auto` takes."""
    device = resolve_device("auto")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device.type,
        "cuda_devices": [_cuda_device(index) for index in range(torch.cuda.device_count())],
        "triton": {"version": _version("triton"), "unused_because": triton_reason(device)},
        "cuda_graphs": {"unused_because": replay_reason(device)},
        "onednn": {"unused_because": onednn_reason(device)},
        "operations": [
            {**agreement._asdict(), "agrees": agreement.holds} for agreement in agreements(device)
        ],
        "threads": torch.get_num_threads(),
        "host_memory_available": available_host_bytes(),
        "disk_free": shutil.disk_usage(_existing(CACHES)).free,
        "caches": {str(path): _placement(path, device) for path in sorted(CACHES.glob("*.zarr"))},
        "options": _options(params),
        "peers": {name: _version(name) for name in PEERS},
    }


def sound(findings: Findings) -> bool:
    """Whether every operation agrees with its float64 reference."""
    return all(operation["agrees"] for operation in findings["operations"])


def show(findings: Findings, console: Terminal) -> None:
    """Print the findings for a person."""
    console.print(_machine_table(findings))
    console.print()
    console.print(_operations_table(findings["operations"]))
    if not sound(findings):
        console.print(
            "An operation DISAGREES with its float64 reference: do not trust results of this machine."
        )


def _machine_table(findings: Findings) -> Table:
    triton = findings["triton"]
    lines = {
        "Python": findings["python"],
        "torch": findings["torch"],
        "device": findings["device"],
        **{f"  cuda:{i}": _cuda_text(device) for i, device in enumerate(findings["cuda_devices"])},
        "Triton": f"{triton['version']}, {_used(triton)}",
        "CUDA graphs": f"of training steps, {_used(findings['cuda_graphs'])}",
        "oneDNN": f"to encode, {_used(findings['onednn'])}",
        "threads": str(findings["threads"]),
        "host memory": f"{decimal(findings['host_memory_available'])} available",
        "disk": f"{decimal(findings['disk_free'])} free at {CACHES}",
        **(findings["caches"] or {str(CACHES): "no cache yet"}),
        **findings["options"],
        "peers": ", ".join(f"{name} {found}" for name, found in findings["peers"].items()),
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def _used(found: dict[str, Any]) -> str:
    reason = found["unused_because"]
    return f"not used: {reason}" if reason else "used"


def _operations_table(operations: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("operation", "path", "relative error", "allowed", ""):
        table.add_column(title)
    for operation in operations:
        table.add_row(
            operation["operation"],
            operation["path"],
            f"{operation['error']:.1e}",
            f"{operation['tolerance']:.0e}",
            "ok" if operation["agrees"] else "DISAGREES",
        )
    return table


def _cuda_device(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory": total,
        "memory_free": free,
    }


def _cuda_text(device: dict[str, Any]) -> str:
    memory = f"{decimal(device['memory'])}, {decimal(device['memory_free'])} free"
    return f"{device['name']}, capability {device['capability']}, {memory}"


def _placement(path: Path, device: torch.device) -> str:
    """Where `train.placement: auto` would keep a cache, or why it cannot be read."""
    try:
        with ActivationCache.open(path) as cache:
            return f"placement {choose_placement(cache, device)}"
    except CacheError as error:
        return str(error)


def _options(params: Path) -> dict[str, str]:
    """What the options choose that depends on the machine."""
    try:
        chosen = load_params(params)
    except ConcordError as error:
        return {"options": str(error)}
    return {
        "precision": f"train.precision {chosen.train.precision}, weights float32, Top-K ranked in float32, "
        f"float32 products {'with tf32' if torch.get_float32_matmul_precision() != 'highest' else 'without tf32'}",
        "backbone": _backbone(chosen),
    }


def _backbone(params: Params) -> str:
    options = params.backbone
    file = options.weights
    if options.model.startswith("local-dir:"):
        folder = Path(options.model.removeprefix("local-dir:"))
        installed = (folder / "open_clip_config.json").is_file() and any(folder.glob("open_clip_*model*"))
        return f"{options.model}: {'installed' if installed else 'no weights there'}"
    if file is not None and Path(file).is_file():
        return f"{options.model}: weights installed at {file}"
    return f"{options.model}, weights {file}: downloaded at first use"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path.resolve(), *path.resolve().parents) if folder.exists())
