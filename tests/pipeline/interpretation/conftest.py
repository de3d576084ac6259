"""The picture world, written once: importlib mode leaves the tests' folders off the path."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import picture_world

from pipeline.interpretation.options import InterpretOptions


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return picture_world.write_cache(
        tmp_path_factory.mktemp("world") / "val.zarr", "val", picture_world.pictures()
    )


@pytest.fixture(scope="session")
def options(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "pictures.txt"
    path.write_text(picture_world.LIST, encoding="utf-8")
    return InterpretOptions(concepts=str(path), prompt="{term}", minimum_hits=3)
