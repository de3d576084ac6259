"""The example cache, by the name of its class: `example_cache.Example` as a fixture, since tests are not a package."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

SCRIPT = Path(__file__).with_name("example_cache.py")


settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def _load():
    specification = importlib.util.spec_from_file_location("example_cache", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["example_cache"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def Example():  # noqa: N802
    """The class of example caches."""
    return _load().Example


@pytest.fixture(scope="session")
def example(Example):  # noqa: N803
    """The default example."""
    return Example()


@pytest.fixture(scope="session")
def cache(example, tmp_path_factory):
    """A finished cache of the default example, not to be changed."""
    return example.write(tmp_path_factory.mktemp("shared") / "example.zarr")


@pytest.fixture
def path(cache, tmp_path):
    """A copy of that cache, free to be damaged."""
    return Path(shutil.copytree(cache.path, tmp_path / "copy.zarr"))
