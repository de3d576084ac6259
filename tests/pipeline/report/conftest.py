"""A report of the picture world, built once."""

import copy
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from report_world import METRICS, TRAP, World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Not to be changed."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def own_world(world, tmp_path):
    """Free to be changed: runs and pictures are copies."""
    own = copy.copy(world)
    own.runs, own.data = (shutil.copytree(one, tmp_path / one.name) for one in (world.runs, world.data))
    return own


@pytest.fixture(scope="session")
def report(world, tmp_path_factory):
    return world.build(tmp_path_factory.mktemp("built") / "report")


@pytest.fixture(scope="session")
def metrics():
    return METRICS


@pytest.fixture(scope="session")
def trap():
    return TRAP
