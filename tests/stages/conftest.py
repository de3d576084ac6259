"""Helpers that several tests of the command line share, and the script that kills trainings."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "processes")]
