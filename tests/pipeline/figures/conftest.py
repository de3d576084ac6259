"""The world of the report's tests, once more: its runs are drawn here."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))

from report_world import World

from pipeline.figures.source import FigureSource


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Not to be changed."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def source(world):
    return FigureSource(world.runs / "lucid", world.caches["val"], world.data)


@pytest.fixture(scope="session")
def pooled(world):
    return FigureSource(world.runs / "pooled", world.caches["val"], world.data)
