"""How every benchmark measures and what it writes down.

Machines are noisy and slow down for minutes at a time, so candidates take turns, round after round, and are compared
within a round.
"""

import argparse
import json
import operator
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pipeline.runs.processor import processor_name

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class Spread:
    """What the rounds of one candidate gave: their median, lowest and highest value."""

    median: float
    lowest: float
    highest: float
    unit: str

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> "Spread":
        """Summarise one value for each round."""
        return cls(statistics.median(values), min(values), max(values), unit)

    def to_json(self) -> dict[str, float | str]:
        """The numbers to four digits, which is more than any of them means."""
        numbers = {name: float(f"{getattr(self, name):.4g}") for name in ("median", "lowest", "highest")}
        return {**numbers, "unit": self.unit}


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each candidate returned in each round; in a round every candidate has one turn."""
    measured: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            measured[name].append(candidate())
    return measured


def paired_ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """Median over the rounds of the ratio within a round, to three decimals.

    What slows the machine down for a while slows both, so this is steadier than the ratio of the medians.
    """
    return round(float(statistics.median(map(operator.truediv, above, below))), 3)


def forget_files(folder: Path) -> str:
    """Drop the files below `folder` from the page cache; returns how.

    Needs files that are on disk already: pages that wait to be written cannot be dropped.
    """
    os.sync()
    try:
        DROP_CACHES.write_text("1")
    except OSError:
        for file in folder.rglob("*"):
            if file.is_file():
                descriptor = os.open(file, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
        return "posix_fadvise(DONTNEED) on every file"
    return "/proc/sys/vm/drop_caches"


def file_system(folder: Path) -> str:
    """Type of the file system that `folder` is on, such as "ext4"; "unknown" where /proc does not tell."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = {str(part) for part in (folder.resolve(), *folder.resolve().parents)}
    matching = [(point, kind) for point, kind in mounts if point in above]
    return max(matching, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def write_result(
    arguments: argparse.Namespace,
    module: str,
    ratios: Mapping[str, float],
    measured: Mapping[str, Spread],
    conditions: Mapping[str, Any],
    packages: Iterable[str],
) -> None:
    """Print the result, and write it to the file that `--json` names.

    Args:
        arguments: of the command line, with `json`, a path or None.
        module: name of the benchmark's module, which was run with `python -m`.
        ratios: the claims, by name.
        measured: what the ratios are made of, by candidate.
        conditions: what else a reader must know to believe or repeat the numbers.
        packages: distributions whose versions matter.
    """
    result = {
        "ratios": dict(ratios),
        "measured": {name: spread.to_json() for name, spread in measured.items()},
        "conditions": dict(conditions),
        "machine": _machine(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    }
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text, encoding="utf-8")


def _machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_at_end": round(os.getloadavg()[0], 2),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
