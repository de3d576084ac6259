"""`concord cache repair` against a real data set and the embedded backbone."""

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml
from noise_project import encoded_project, run


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A working directory with options, five pictures of noise, and their cache in three shards."""
    return encoded_project(tmp_path_factory.mktemp("project"), 5, shard_images=2)


@pytest.fixture
def project(encoded, tmp_path, monkeypatch):
    folder = shutil.copytree(encoded, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def digests(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_only_the_damaged_shard_is_encoded_again_and_the_cache_is_as_before(project):
    cache = project / "data/cache/train.zarr"
    whole = digests(cache)
    untouched = (cache / "vision/tokens/c.0.0.0").stat().st_ino
    (cache / "vision/tokens/c.1.0.0").write_bytes(b"")
    shown = run("cache", "repair", "data/cache/train.zarr")
    assert "vision/tokens/c.1.0.0 has 0 bytes" in shown and "are what was written" in shown
    assert "encode shards [1] again" in shown
    assert digests(cache) == whole
    assert (cache / "vision/tokens/c.0.0.0").stat().st_ino == untouched


def test_a_cache_of_another_source_is_refused_with_both_values_and_left_alone(project):
    cache = project / "data/cache/train.zarr"
    (cache / "vision/tokens/c.1.0.0").write_bytes(b"")
    damaged = digests(cache)
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["encode"]["storage_dtype"] = "float32"
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    told = run("cache", "repair", "data/cache/train.zarr", status=1)
    assert 'storage_dtype: the cache has "float16", expected "float32"' in told
    assert digests(cache) == damaged


def test_what_follows_from_the_shards_is_repaired_without_the_data_set(project):
    cache = project / "data/cache/train.zarr"
    whole = digests(cache)
    shutil.rmtree(project / "pets")
    shutil.rmtree(cache / "statistics")
    run("cache", "repair", "data/cache/train.zarr")
    assert digests(cache) == whole


def test_a_sound_cache_is_left_as_it_is_and_a_foreign_file_too(project):
    assert "are what was written" in run("cache", "repair", "data/cache/train.zarr")
    (project / "data/cache/train.zarr/notes.txt").write_text("mine")
    assert "notes.txt does not belong there" in run("cache", "repair", "data/cache/train.zarr", status=1)
    assert (project / "data/cache/train.zarr/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("file", ["zarr.json", "vision/tokens/c.1.0.0"])
def test_a_folder_in_the_place_of_a_file_is_named_and_left_to_the_user(project, file):
    whole = project / "data/cache/train.zarr" / file
    whole.rename(whole.with_name("kept"))
    whole.mkdir()
    shown = run("cache", "repair", "data/cache/train.zarr", status=1)
    assert f"{file}: is a folder where a file belongs; move it away and repair again" in " ".join(
        shown.split()
    )
