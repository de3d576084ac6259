"""Reading COCO layout: what is kept, what is refused, and with which words."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools.coco import COCO
from pydantic import ValidationError

from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.layouts import LAYOUTS, find_split, open_split
from pipeline.datasets.masks import segmentation_mask
from pipeline.datasets.options import DatasetOptions, LayoutName
from pipeline.datasets.pairs import Caption, choose_captions
from pipeline.datasets.pictures import UnusableImageError, read_picture
from pipeline.errors import ConfigError, DatasetError


def open_all(root, split="train"):
    return CocoDataset.open(root, split, captions_per_image="all")


def test_images_captions_and_objects_come_in_the_files_order_with_paths_below_the_root(folder):
    folder.add(7, ["a dog", "the same dog"], size=(48, 32))
    folder.add(3, ["another dog"], size=(20, 30))
    folder.add_object(3, box=(1, 2, 3.5, 4))
    dataset = open_all(folder.write())
    assert (dataset.name, dataset.split, dataset.has_objects) == ("pets", "train", True)
    first, second = dataset.images
    assert (first.image_id, first.file, first.width, first.height) == (7, Path("train/000007.jpg"), 48, 32)
    assert [caption.text for caption in first.captions] == ["a dog", "the same dog"]
    assert first.objects == ()
    assert second.objects[0].category == "dog"
    assert second.objects[0].box == (1.0, 2.0, 3.5, 4.0)
    assert json.loads(bytes(second.objects[0].segmentation)) == [[1, 2, 4.5, 2, 4.5, 6, 1, 6]]
    assert second.concepts is None and second.captions[0].concepts is None


def test_concepts_are_read_where_the_files_have_them(folder):
    folder.add(1, concepts=["noun:dog", "colour:red"])
    folder.add_object(1, concepts=["noun:dog"])
    folder.captions["annotations"][0]["concepts"] = []
    image = open_all(folder.write()).images[0]
    assert image.concepts == ("noun:dog", "colour:red")
    assert image.captions[0].concepts == ()
    assert image.objects[0].concepts == ("noun:dog",)


def test_crowds_and_boxes_without_area_are_left_out(folder):
    folder.add(1)
    folder.add_object(1, iscrowd=1)
    folder.add_object(1, box=(3, 3, 0, 5))
    folder.add_object(1, box=(9, 9, 2, 2))
    assert [one.box for one in open_all(folder.write()).images[0].objects] == [(9, 9, 2, 2)]


def test_without_an_instances_file_images_have_no_objects(folder):
    folder.instances = None
    folder.add(1)
    dataset = open_all(folder.write())
    assert not dataset.has_objects
    assert dataset.images[0].objects == ()


def test_a_missing_image_file_is_marked_and_the_others_stay(folder):
    folder.add(1)
    folder.add(2, picture=False)
    assert [image.unusable for image in open_all(folder.write()).images] == [None, "image file missing"]


def test_fingerprint_follows_annotations_and_image_files_but_not_where_the_folder_lies(folder, tmp_path):
    folder.add(1)
    folder.add(2)
    root = folder.write()
    before = open_all(root).fingerprint
    moved = root.rename(tmp_path / "elsewhere")
    assert open_all(moved).fingerprint == before
    image = moved / "train" / "000002.jpg"
    image.write_bytes(image.read_bytes() + b"x")
    longer = open_all(moved).fingerprint
    image.write_bytes(image.read_bytes()[:-1] + b"y")
    as_long = open_all(moved).fingerprint
    image.unlink()
    missing = open_all(moved).fingerprint
    captions = moved / "annotations" / "captions_train.json"
    captions.write_text(captions.read_text().replace("a dog", "a cat", 1))
    assert len({before, longer, as_long, missing, open_all(moved).fingerprint}) == 5


def test_the_one_caption_depends_on_seed_and_image_alone():
    captions = [Caption(number, f"caption {number}", None) for number in range(5)]
    chosen = {image_id: choose_captions(captions, "one", 0, image_id) for image_id in range(400)}
    assert chosen == {image_id: choose_captions(captions, "one", 0, image_id) for image_id in range(400)}
    counts = Counter(caption.caption_id for (caption,) in chosen.values())
    assert min(counts.values()) > 50, "each caption is chosen about equally often"
    reseeded = [choose_captions(captions, "one", 1, image_id) for image_id in range(400)]
    assert sum(one == other for one, other in zip(chosen.values(), reseeded, strict=True)) < 150
    assert choose_captions(captions, "all", 0, 3) == tuple(captions)


def test_the_choice_of_a_caption_is_the_same_on_every_machine_and_version():
    captions = [Caption(number, f"caption {number}", None) for number in range(5)]
    chosen = [choose_captions(captions, "one", 0, image_id)[0].caption_id for image_id in range(8)]
    assert chosen == [4, 2, 3, 4, 2, 0, 2, 4]


def test_a_blank_caption_is_chosen_only_where_there_is_no_other():
    blank, words = Caption(1, "  ", None), Caption(2, "a dog", None)
    assert all(choose_captions([blank, words], "one", 0, image_id) == (words,) for image_id in range(20))
    assert choose_captions([blank, blank], "one", 0, 5) == (blank,)
    assert choose_captions([], "one", 0, 5) == ()


def test_missing_folders_and_files_are_named_with_what_exists(folder, tmp_path):
    folder.add(1)
    root = folder.write()
    with pytest.raises(DatasetError, match=r"nowhere: no such folder; .* holds pets/"):
        open_all(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"val: no such folder; .*pets holds annotations/, train/"):
        open_all(root, "val")
    (root / "val").mkdir()
    with pytest.raises(
        DatasetError, match=r"captions_val.json: no such file; .* captions_train.json, instances_train"
    ):
        open_all(root, "val")


def test_a_folder_where_no_listed_image_exists_is_refused(folder):
    folder.add(1, picture=False)
    complaint = r"train: none of the 1 images of .*captions_train.json is there .* at .*/train/000001.jpg \(.* missing"
    with pytest.raises(DatasetError, match=complaint):
        open_all(folder.write())


def test_a_file_that_lists_no_images_is_refused(folder):
    with pytest.raises(DatasetError, match=r"captions_train.json: 'images' is empty"):
        open_all(folder.write())


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: f.captions["annotations"][0].update(image_id=99), "entry 1: names image 99"),
        (
            lambda f: f.captions["annotations"][0].pop("caption"),
            r"entry 1: .* missing required field `caption`",
        ),
        (lambda f: f.captions["images"][0].pop("width"), r"entry 1: .* missing required field `width`"),
        (lambda f: f.captions["images"][0].update(height=0), r"entry 1: 'height' is 0: Expected `int` >= 1"),
        (lambda f: f.captions["images"][0].update(id="one"), r"'id' is 'one': Expected `int`"),
        (lambda f: f.captions["images"].append(f.captions["images"][0]), "images id 1 occurs twice"),
        (lambda f: f.captions["images"][0].update(file_name="../x.jpg"), "leaves the split's folder"),
        (lambda f: f.captions["images"][0].update(file_name="/x.jpg"), "leaves the split's folder"),
        (lambda f: f.captions.pop("annotations"), "missing required field `annotations`"),
        (lambda f: f.captions["images"].append(3), r"images\[1\]: 3: Expected `object`"),
        (lambda f: f.instances["annotations"][0].update(category_id=8), "entry 1: names category 8"),
        (lambda f: f.instances["annotations"][0].update(image_id=99), "entry 1: names image 99"),
        (
            lambda f: f.instances["annotations"][0].update(bbox=[1, 2]),
            r"'bbox' is .*: Expected `array` of length 4",
        ),
        (
            lambda f: f.instances["annotations"][0].update(segmentation=[[1, 2, 3]]),
            r"entry 1: 'segmentation': polygon \[1.0, 2.0, 3.0\]",
        ),
        (lambda f: f.instances["categories"][0].pop("name"), "missing required field `name`"),
        (lambda f: f.captions["images"][0].update(concepts=[1]), r"'concepts' is \[1\]: Expected `str`"),
    ],
)
def test_malformed_annotations_are_refused_naming_file_and_entry(folder, damage, complaint):
    folder.add(1)
    folder.add_object(1)
    damage(folder)
    with pytest.raises(DatasetError, match=rf"(captions|instances)_train.json: .*{complaint}") as error:
        open_all(folder.write())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ['{"images": [', "[1, 2]", "\x00\xff"])
def test_files_that_are_not_coco_json_are_refused(folder, content):
    folder.add(1)
    path = folder.write() / "annotations" / "captions_train.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DatasetError, match=r"captions_train.json: not JSON in COCO layout: "):
        open_all(folder.root)


def test_options_open_a_split_by_the_pipelines_name_and_refuse_others(folder):
    folder.add(1, ["a dog", "two dogs"])
    options = DatasetOptions(root=folder.write(), splits={"val": "train"})
    assert len(open_split(options, "val").images[0].captions) == 1
    for use in (open_split, find_split):
        with pytest.raises(ConfigError, match="no split 'test'; the splits are val"):
            use(options, "test")
    with pytest.raises(ValidationError):
        DatasetOptions(root=folder.root, splits={})


def test_every_layout_that_options_may_name_has_a_record():
    assert set(LAYOUTS) == set(get_args(LayoutName))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "RGBA", "LA", "I;16"])
def test_pictures_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    Image.new("RGB", (30, 20), (200, 30, 30)).convert("L" if mode in ("LA", "I;16") else mode).convert(
        mode
    ).save(path)
    picture = read_picture(path, (30, 20))
    assert (picture.mode, picture.size) == ("RGB", (30, 20))


def exif_picture(path, orientation):
    """60 x 40 stored pixels whose left half is white, with an EXIF orientation."""
    picture = Image.new("RGB", (60, 40))
    picture.paste("white", (0, 0, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, quality=95)


def test_exif_orientation_is_applied_when_the_annotation_saw_it_so(tmp_path):
    path = tmp_path / "turned.jpg"
    exif_picture(path, orientation=6)  # to be turned clockwise: the white half ends up on top
    turned = read_picture(path, (40, 60))
    assert turned.size == (40, 60)
    assert turned.getpixel((20, 10))[0] > 200 and turned.getpixel((20, 50))[0] < 50
    stored = read_picture(path, (60, 40))
    assert stored.size == (60, 40)
    assert stored.getpixel((10, 20))[0] > 200 and stored.getpixel((50, 20))[0] < 50


def test_exif_orientation_that_keeps_the_size_is_applied(tmp_path):
    path = tmp_path / "upside_down.jpg"
    exif_picture(path, orientation=3)
    assert read_picture(path, (60, 40)).getpixel((10, 20))[0] < 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    path = tmp_path / "turned.png"
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(path, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_array_equal(read_picture(path, expected.size), expected)


def test_a_scaled_picture_is_kept_and_one_of_other_proportions_refused(tmp_path):
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (64, 43)).save(path)
    assert read_picture(path, (640, 427)).size == (64, 43)
    assert read_picture(path, (32, 21)).size == (64, 43)
    with pytest.raises(
        UnusableImageError, match="differs from its annotation: 64 x 43 px, annotated 43 x 64"
    ):
        read_picture(path, (43, 64))
    with pytest.raises(UnusableImageError, match="annotated 64 x 64"):
        read_picture(path, (64, 64))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6])
def test_damaged_files_are_unusable_whatever_is_left_of_them(tmp_path, suffix, kept):
    path = tmp_path / f"picture.{suffix}"
    Image.effect_noise((64, 64), 80).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UnusableImageError, match=rf"{path}: image cannot be decoded: ") as error:
        read_picture(path, (64, 64))
    assert error.value.reason.startswith("image cannot be decoded: ")
    assert str(tmp_path) not in error.value.reason and "0x" not in error.value.reason


def test_a_file_that_cannot_be_read_is_an_error_not_a_skip(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read: No such file") as error:
        read_picture(tmp_path / "gone.jpg", (8, 8))
    assert not isinstance(error.value, UnusableImageError)


def test_objects_of_real_coco_are_those_of_cocos_own_api():
    root = os.environ.get("CONCORD_COCO_MINI")
    if not root:
        pytest.skip(
            "set CONCORD_COCO_MINI to a folder in COCO layout with a split train2017 to run this test"
        )
    api = COCO(Path(root, "annotations", "instances_train2017.json"))
    for image in open_all(Path(root), "train2017").images:
        expected = api.loadAnns(api.getAnnIds(image.image_id, iscrowd=False))
        assert [list(one.box) for one in image.objects] == [one["bbox"] for one in expected]
        for found, annotation in zip(image.objects, expected, strict=True):
            mask = segmentation_mask(bytes(found.segmentation).decode(), (image.width, image.height))
            np.testing.assert_array_equal(mask, api.annToMask(annotation))
