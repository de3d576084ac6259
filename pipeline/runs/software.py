"""Which software made a run: versions of the libraries that compute, and the commit of this code."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("torch", "numpy", "open_clip_torch", "timm", "transformers", "tokenizers", "pillow", "triton")


def software() -> dict[str, Any]:
    """Plain JSON: `versions` by name, and the `commit` of this code, null if it is not in a git repository.

    `edited` tells whether its Python files differ from that commit. None of this is part of a run's identity.
    """
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = _git("rev-parse", "HEAD")
    edited = (
        None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no", "--", "*.py"))
    )
    return {"versions": versions, "commit": commit, "edited": edited}


def _git(*command: str) -> str | None:
    """What git prints about the repository of this code; None if there is no git or no repository."""
    top = Path(__file__).resolve().parents[2]
    try:
        finished = subprocess.run(["git", "-C", top, *command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return finished.stdout.strip()
