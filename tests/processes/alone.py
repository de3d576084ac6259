"""Runs tests or a script of the product in a Python process of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_alone(*arguments: str, **environment: str) -> None:
    """Run `python ARGUMENTS` in the checkout, with these variables set; it must succeed."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
