"""Folders of pictures, and everything that can be wrong with them."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.classification.image_folder import (
    DEFAULT_TEMPLATES,
    fill_templates,
    open_image_folder,
    refuse_other_classes,
)
from pipeline.errors import ConfigError, DatasetError

from .conftest import write_picture


def test_classes_and_pictures_are_read_in_alphabetical_order(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / "cat" / "notes.txt").write_text("not a picture", encoding="utf-8")
    write_picture(folder / "cat" / "9.JPG", seed="jpeg")
    images = open_image_folder(folder)
    assert images.classes == ["cat", "red_boat"]
    pictures = list(images.read())
    assert [picture.name for picture in pictures[:4]] == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/9.JPG"]
    assert [picture.label for picture in pictures] == [0, 0, 0, 0, 1, 1, 1]
    assert list(images.skipped) == ["cat/notes.txt"]
    assert pictures[4].image.tobytes() == Image.open(folder / "red_boat" / "0.png").tobytes()


def test_damaged_and_repeated_pictures_are_skipped_with_a_reason(folder: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    cut = (folder / "cat" / "2.png").read_bytes()[:60]
    (folder / "cat" / "2.png").write_bytes(cut)
    Image.open(folder / "cat" / "0.png").save(folder / "red_boat" / "1.png", compress_level=0)
    images = open_image_folder(folder)
    assert [picture.name for picture in images.read()] == ["cat/0.png", "red_boat/0.png", "red_boat/2.png"]
    assert list(images.skipped) == ["cat/1.png", "cat/2.png", "red_boat/1.png"]
    assert images.skipped["cat/1.png"].startswith(
        "image cannot be decoded: not a picture, or of a kind that is not read"
    )
    assert str(folder) not in images.skipped["cat/2.png"]
    assert images.skipped["red_boat/1.png"] == "the same picture as cat/0.png"


def test_pictures_are_read_whatever_their_names_end_in_and_the_rest_is_counted(folder: Path) -> None:
    for number, name in enumerate(["a.JPEG", "b.webp", "c.TIF", "d.gif", "e", "f.txt"]):
        format_ = {"b.webp": "WEBP", "c.TIF": "TIFF", "d.gif": "GIF"}.get(name, "PNG")
        Image.new("RGB", (8, 8 + number), "red").save(folder / "cat" / name, format_)
    (folder / "cat" / "more").mkdir()
    os.mkfifo(folder / "cat" / "pipe.jpg")
    write_picture(folder / "loose.png", seed="loose")
    (folder / "cat" / ".hidden").write_bytes(b"passed over")
    images = open_image_folder(folder)
    names = [picture.name for picture in images.read() if picture.label == 0]
    assert names == [
        f"cat/{name}"
        for name in ("0.png", "1.png", "2.png", "a.JPEG", "b.webp", "c.TIF", "d.gif", "e", "f.txt")
    ]
    assert images.skipped == {
        "loose.png": "in no class: it lies beside the folders",
        "cat/more": "image file cannot be used: is a folder",
        "cat/pipe.jpg": "image file cannot be used: is a named pipe",
    }


def test_a_class_without_a_usable_picture_is_an_error(folder: Path) -> None:
    for path in (folder / "cat").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"cat: none of its 3 files can be used .*not a picture"):
        list(open_image_folder(folder).read())


def test_a_folder_without_classes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing: no such folder"):
        open_image_folder(tmp_path / "missing")
    write_picture(tmp_path / "one" / "cat" / "0.png", seed="0")
    with pytest.raises(DatasetError, match="one: has 1 folder of pictures"):
        open_image_folder(tmp_path / "one")


def test_an_empty_class_is_an_error(folder: Path) -> None:
    (folder / "dog").mkdir()
    with pytest.raises(DatasetError, match=r"dog: no picture in this class \(JPEG, PNG, "):
        open_image_folder(folder)


def test_a_file_that_cannot_be_read_is_an_error_and_no_skip(folder: Path) -> None:
    (folder / "cat" / "3.png").symlink_to(folder / "gone.png")
    with pytest.raises(DatasetError, match=r"3\.png: cannot be read: No such file"):
        list(open_image_folder(folder).read())


def test_tuning_on_other_classes_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("cat", "red_boat", "dog"):
        write_picture(tmp_path / "other" / name / "0.png", seed=name)
    test, tuning = open_image_folder(folder), open_image_folder(tmp_path / "other")
    with pytest.raises(DatasetError, match=r"must have the same classes; only .*other has 'dog'"):
        refuse_other_classes(tuning, test)


def test_templates_are_filled_with_the_folders_names() -> None:
    assert fill_templates(["cat", "red_boat"], ["a {}", "the {}!"]) == [
        ["a cat", "the cat!"],
        ["a red boat", "the red boat!"],
    ]
    assert "itap of a {}." in DEFAULT_TEMPLATES
    with pytest.raises(ConfigError, match=r"'a photo' has no {} where the class goes"):
        fill_templates(["cat"], ["a photo"])
