"""Puts the dense reference within reach: importlib mode leaves the tests' folders off the path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
