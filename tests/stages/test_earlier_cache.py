"""`concord encode --replace`, which DVC gives, deletes nothing that is whole and right, and says what it deletes."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from noise_project import encoded_project, run
from PIL import Image

CACHE = Path("data/cache/train.zarr")
COMMAND = ("encode", "train", "--replace")


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A working directory with options, three pictures of noise, and their cache in two shards."""
    return encoded_project(tmp_path_factory.mktemp("project"), 3, shard_images=2, batch_size=2)


@pytest.fixture
def project(encoded, tmp_path, monkeypatch):
    """A copy of that directory, and the current one."""
    monkeypatch.chdir(shutil.copytree(encoded, tmp_path / "project"))


def set_option(section, key, value):
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values[section][key] = value
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def digests():
    files = sorted(file for file in CACHE.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def places():
    return {
        file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in CACHE.rglob("*") if file.is_file()
    }


def make_unfinished(monkeypatch):
    """Encode again, up to the last step."""
    shutil.rmtree(CACHE)
    with monkeypatch.context() as patch:
        patch.setattr("cache.writing.writer.finish_cache", interrupt)
        run(*COMMAND, status=130)
    assert not json.loads((CACHE / "zarr.json").read_text())["attributes"]["complete"]


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_finished_cache_is_kept_when_its_data_set_is_moved(project):
    Path("pets").rename("animals")
    set_option("dataset", "root", "animals")
    before = places()
    assert "is already encoded and whole; nothing to do" in run(*COMMAND)
    assert places() == before


def test_a_picture_in_place_of_another_of_the_same_size_is_encoded(project):
    first, second = Path("pets/train/1.png"), Path("pets/train/2.png")
    pixels = np.asarray(Image.open(first)).copy()
    size = max(first.stat().st_size, second.stat().st_size)
    second.write_bytes(second.read_bytes().ljust(size, b"\0"))
    first.write_bytes(first.read_bytes().ljust(size, b"\0"))
    run(*COMMAND)
    before = digests()
    first.write_bytes(second.read_bytes())
    assert not np.array_equal(np.asarray(Image.open(first)), pixels)
    assert "dataset.fingerprint" in run(*COMMAND)
    assert digests() != before


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, None, None),
        ("encode", "decode_workers", 1),
        ("backbone", "seed", 5),
        ("dataset", "splits", {"train": "train", "other": "train"}),
    ],
)
def test_a_finished_cache_is_kept_whatever_option_that_decides_nothing_changes(project, section, key, value):
    before = places()
    if section is not None:
        set_option(section, key, value)
    assert "is already encoded and whole; nothing to do" in run(*COMMAND)
    assert places() == before


def test_a_finished_cache_of_other_library_versions_is_kept(project, monkeypatch):
    before = places()
    monkeypatch.setattr("pipeline.encoding.split.version", lambda name: f"another {name}")
    assert "nothing to do" in run(*COMMAND)
    assert places() == before


@pytest.mark.parametrize("change", ["storage_dtype", "batch_size", "caption_seed", "code"])
def test_a_finished_cache_of_another_identity_is_replaced_and_the_line_says_why(project, change, monkeypatch):
    if change == "code":
        monkeypatch.setattr("pipeline.encoding.split.code_sha256", lambda: "edited")
    elif change == "caption_seed":
        set_option("dataset", change, 7)
    else:
        set_option("encode", change, {"storage_dtype": "float32", "batch_size": 1}[change])
    told = run(*COMMAND)
    (line,) = [line for line in told.splitlines() if "were deleted" in line]
    assert change in line and "kB of an earlier cache" in line
    assert "encoded 3 images" in told


def test_an_interrupted_cache_is_continued_if_it_is_the_same_and_named_if_it_is_deleted(project, monkeypatch):
    whole = digests()
    make_unfinished(monkeypatch)
    assert "encoded 0 images" in run(*COMMAND)
    assert digests() == whole
    make_unfinished(monkeypatch)
    set_option("encode", "storage_dtype", "float32")
    told = run(*COMMAND)
    assert "were deleted, for it has another storage_dtype" in told and "encoded 3 images" in told


@pytest.mark.parametrize(
    "name", ["vision/tokens/c.1.0.0", "text/starts/c.0", "zarr.json", "vision/tokens/zarr.json"]
)
def test_a_damaged_cache_is_repaired_and_its_sound_shards_stay(project, name):
    whole, before = digests(), places()
    (CACHE / name).write_bytes((CACHE / name).read_bytes()[:-3])
    told = run(*COMMAND)
    assert "repairing" in told and "were deleted" not in told
    assert digests() == whole
    sound = CACHE / "vision/tokens/c.0.0.0"
    assert (sound.stat().st_ino, sound.stat().st_mtime_ns) == before[sound]


def test_a_cache_of_an_earlier_version_of_the_format_is_replaced_and_the_line_says_why(project):
    whole = digests()
    document = json.loads((CACHE / "zarr.json").read_text())
    document["attributes"]["version"] = document["attributes"]["manifest"]["version"] = 1
    (CACHE / "zarr.json").write_text(json.dumps(document))
    told = run(*COMMAND)
    (line,) = [line for line in told.splitlines() if "were deleted" in line]
    assert "format version 1" in line and "encoded 3 images" in told
    assert digests() == whole


def test_what_is_no_cache_is_left_alone(project):
    shutil.rmtree(CACHE)
    CACHE.mkdir()
    (CACHE / "thesis.txt").write_text("three years")
    assert "not an activation cache" in run(*COMMAND, status=1)
    assert (CACHE / "thesis.txt").read_text() == "three years"
