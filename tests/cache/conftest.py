"""Classes that tests share, as fixtures of the same name, since tests are not a package."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest


def _load(name):
    script = Path(__file__).with_name(f"{name}.py")
    specification = importlib.util.spec_from_file_location(name, script)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def Example():  # noqa: N802
    """The class of example caches."""
    return _load("example_cache").Example


@pytest.fixture(scope="session")
def RangeServer():  # noqa: N802
    """The class of web servers that know byte ranges."""
    return _load("range_server").RangeServer


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
