"""A small project with a trained dictionary, for the front door and for the code in the documents."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "stages"))

from micro_project import working_in, write_project

import concord


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door") / "project"
    folder.mkdir()
    write_project(folder)
    with working_in(folder):
        params = concord.load_params()
        concord.fit(
            concord.open_cache("data/cache/train.zarr"), params.sae, params.train, run=Path("runs/lucid")
        )
    return folder


@pytest.fixture
def project(finished_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as working directory."""
    monkeypatch.chdir(finished_project)
    return finished_project
