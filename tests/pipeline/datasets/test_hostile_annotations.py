"""Annotation files that are wrong in ways which would give wrong numbers or end a run late: refused on reading."""

import copy
import json
import math
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets.coco import CocoDataset
from pipeline.errors import DatasetError

from .test_pictures import IRREGULAR, make_irregular


def open_all(root):
    return CocoDataset.open(root, "train", captions_per_image="all")


def refusal(folder):
    """The one line that the folder is refused with."""
    with pytest.raises(DatasetError) as error:
        open_all(folder.write())
    message = str(error.value)
    assert "\n" not in message and len(message) < 2000 and message.encode()
    return message


@pytest.fixture
def pets(folder):
    """Two images; the first has a dog in it."""
    folder.add(1)
    folder.add(2)
    folder.add_object(1)
    folder.instances["images"] = copy.deepcopy(folder.captions["images"])
    return folder


@pytest.mark.parametrize("flag", ["0", "1", "false", "", [0], [], {}, None, 0.0, 1.0, 2, -1])
def test_a_crowd_flag_that_is_none_is_refused(pets, flag):
    pets.instances["annotations"][0]["iscrowd"] = flag
    assert re.search(
        r"instances_train.json: annotations, entry 1: 'iscrowd' is .*: (Expected|Invalid)", refusal(pets)
    )


@pytest.mark.parametrize(("flag", "kept"), [(0, 1), (False, 1), (1, 0), (True, 0), ("absent", 1)])
def test_a_crowd_flag_is_read_by_its_value(pets, flag, kept):
    pets.instances["annotations"][0]["iscrowd"] = flag
    if flag == "absent":
        del pets.instances["annotations"][0]["iscrowd"]
    assert len(open_all(pets.write()).images[0].objects) == kept


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"file_name": "000002.jpg"},
            "'000001.jpg' of 48 x 32 px in the first and '000002.jpg' of 48 x 32 px",
        ),
        ({"file_name": "sub/000001.jpg"}, "'sub/000001.jpg'"),
        (
            {"width": 32, "height": 48},
            "'000001.jpg' of 48 x 32 px in the first and '000001.jpg' of 32 x 48 px",
        ),
        ({"height": 33}, "48 x 33 px in the second"),
    ],
)
def test_files_that_disagree_about_an_image_are_refused_naming_both(pets, change, complaint):
    pets.instances["images"][0].update(change)
    message = refusal(pets)
    assert all(f"{kind}_train.json" in message for kind in ("captions", "instances"))
    assert "disagree about image 1" in message and complaint in message


def test_files_that_number_images_differently_are_refused(pets):
    one, two = pets.instances["images"]
    one["file_name"], two["file_name"] = two["file_name"], one["file_name"]
    assert "disagree about image 1" in refusal(pets)


def test_an_image_that_the_instances_file_lacks_is_refused(pets):
    del pets.instances["images"][1]
    assert re.search(
        r"captions_train.json lists image 2, '000002.jpg' of 48 x 32 px, and .*instances_train.json",
        refusal(pets),
    )


def test_images_that_have_objects_and_no_entry_among_the_captioned_are_passed_over(pets):
    pets.instances["images"].append({"id": 9, "file_name": "9.jpg", "width": 20, "height": 20})
    pets.add_object(9)
    pets.instances["images"].reverse()
    assert [len(image.objects) for image in open_all(pets.write()).images] == [1, 0]


def test_spellings_of_one_path_agree(pets):
    pets.instances["images"][0]["file_name"] = "./000001.jpg"
    assert len(open_all(pets.write()).images) == 2


@pytest.mark.parametrize("link", ["nowhere.json", "instances_train.json"])
def test_an_instances_file_that_cannot_be_followed_is_not_taken_for_an_absent_one(pets, link):
    path = pets.write() / "annotations" / "instances_train.json"
    path.unlink()
    path.symlink_to(link)
    with pytest.raises(DatasetError, match=r"instances_train.json: (cannot be read: No such|is a link)"):
        open_all(pets.root)


HALF = "\ud83d"
WRONG = [
    ("captions", "annotations", {"caption": f"a dog {HALF}"}, r'near: .*"id": 1, .*"caption": "a dog .ud83d"'),
    ("captions", "annotations", {"caption": 7}, "entry 1: 'caption' is 7: Expected `str`"),
    ("captions", "annotations", {"caption": None}, "entry 1: 'caption' is None: Expected `str`"),
    ("captions", "annotations", {"concepts": [HALF]}, r'near: .*"id": 1, .*"concepts": \[".ud83d"\]'),
    ("captions", "annotations", {"id": 2**63}, "entry 9223372036854775808: 'id' is 9.*: Expected `int` <= 9"),
    ("captions", "annotations", {"id": -(2**63) - 1}, "'id' is -9.*: Expected `int` >= -9223372036854775808"),
    ("captions", "annotations", {"id": None}, r"annotations\[0\]: 'id' is None: Expected `int`"),
    ("captions", "annotations", {"id": True}, r"annotations\[0\]: 'id' is True: Expected `int`"),
    ("captions", "annotations", {"id": 1.0}, r"annotations\[0\]: 'id' is 1.0: Expected `int`"),
    ("captions", "annotations", {"image_id": "1"}, "entry 1: 'image_id' is '1': Expected `int`"),
    ("captions", "annotations", {"id": 2}, "annotations id 2 occurs twice"),
    ("captions", "images", {"id": 10**400}, "'id' is .a number of 1329 bits.: Expected `int` <="),
    ("captions", "images", {"id": HALF}, r'near: .*"id": ".ud83d"'),
    ("captions", "images", {"width": 2**31}, "entry 1: 'width' is 2147483648: Expected `int` <= 2147483647"),
    ("captions", "images", {"height": -3}, "entry 1: 'height' is -3: Expected `int` >= 1"),
    ("captions", "images", {"height": "32"}, "entry 1: 'height' is '32': Expected `int`"),
    ("captions", "images", {"width": 48.0}, "entry 1: 'width' is 48.0: Expected `int`"),
    ("captions", "images", {"file_name": f"{HALF}.jpg"}, r'near: .*"id": 1, "file_name": ".ud83d.jpg"'),
    ("captions", "images", {"file_name": "a\0.jpg"}, "entry 1: 'file_name' 'a.x00.jpg' has a character"),
    ("captions", "images", {"file_name": "x" * 300}, "entry 1: 'file_name' 'xxx.* is too long a name"),
    ("captions", "images", {"file_name": "x/" * 3000}, "entry 1: 'file_name' 'x/x.* is too long a name"),
    ("captions", "images", {"file_name": "a/../../b.jpg"}, "entry 1: 'file_name' .* leaves the split's folder"),
    ("captions", "images", {"file_name": "/etc/passwd"}, "entry 1: 'file_name' .* leaves the split's folder"),
    ("captions", "images", {"file_name": ""}, "entry 1: 'file_name' .* leaves the split's folder"),
    ("instances", "categories", {"name": HALF}, r'near: .*"id": 1, "name": ".ud83d"'),
    ("instances", "categories", {"name": " "}, "categories, entry 1: 'name' is blank"),
    ("instances", "annotations", {"category_id": "1"}, "entry 1: 'category_id' is '1': Expected `int`"),
    ("instances", "annotations", {"bbox": [1, 2, math.nan, 4]}, r'near: .*"id": 1, .*"bbox": \[1, 2, NaN'),
    ("instances", "annotations", {"bbox": [1, 2, math.inf, 4]}, r'near: .*"id": 1, .*"bbox": \[1, 2, Infinity'),
    ("instances", "annotations", {"bbox": [1, 2, 10**400, 4]}, r"entry 1: 'bbox' is .*: Number out of range"),
    ("instances", "annotations", {"bbox": [1e300, 2, 3, 4]}, r"entry 1: 'bbox' is .*: Expected `float` <= 65536"),
    ("instances", "annotations", {"bbox": [1, 2, True, 4]}, "entry 1: 'bbox' is .*: Expected `float`, got `bool`"),
    ("instances", "annotations", {"bbox": ["1", "2", "3", "4"]}, "entry 1: 'bbox' is .*: Expected `float`, got `str`"),
    ("instances", "annotations", {"bbox": [1, 2, -3, 4]}, "entry 1: 'bbox' is .*: Expected `float` >= 0"),
    ("instances", "annotations", {"bbox": "1 2 3 4"}, "entry 1: 'bbox' is '1 2 3 4': Expected `array`"),
    ("instances", "annotations", {"segmentation": [[0, 0, 1, math.nan, 1, 1]]}, r'near: .*: \[\[0, 0, 1, NaN'),
    ("instances", "annotations", {"segmentation": [[math.nan, 0, math.inf, -math.inf]]}, r'near: .*: \[\[NaN'),
    ("instances", "annotations", {"segmentation": [[0, 0, 10**400, 1]]}, "'segmentation': .*: Number out of"),
    ("instances", "annotations", {"segmentation": [[0, 0, True, 1]]}, "'segmentation': .*: Expected `float`"),
    ("instances", "annotations", {"segmentation": {}}, "'segmentation': {}: Object missing required field `size`"),
    ("instances", "annotations", {"segmentation": 0}, "'segmentation': 0: Expected `object"),
    ("instances", "annotations", {"segmentation": ""}, "'segmentation': '': Expected `object"),
    ("instances", "annotations", {"segmentation": False}, "'segmentation': False: Expected `object"),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": [1535]}}, "add up to 1535"),
    ("instances", "annotations", {"segmentation": {"size": [48, 32], "counts": [1536]}}, r"RLE of height, width \[48"),
    ("instances", "annotations", {"segmentation": {"size": [32.0, 48], "counts": [1536]}}, "'size' .*: Expected `int`"),
    ("instances", "annotations", {"segmentation": {"size": 3, "counts": [1536]}}, "'size' is 3: Expected `array`"),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": ["1536"]}}, "'counts' .*: Expected"),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": [1e9]}}, "'counts' .*: Expected `int`"),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": [10**30]}}, "RLE runs add up to 1000"),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": [-1, 1537]}}, "RLE runs"),
    (
        "instances",
        "annotations",
        {"segmentation": {"size": [32, 48], "counts": [2**62, 2**62, 2**62, 2**62, 1536]}},
        "RLE runs add up to",
    ),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": "o" * 40 + "0"}}, "add up to 1"),
    ("instances", "annotations", {"segmentation": {"size": [32, 48], "counts": HALF}}, r'near: .*"counts": ".ud83d"'),
    ("instances", "annotations", {"segmentation": [[0, 0, 65536, 9] * 257]}, "outline is too long to be drawn"),
    ("captions", "images", {"concepts": None}, "entry 1: 'concepts' is None: Expected `array`"),
    ("instances", "annotations", {"iscrowd": math.nan}, r'near: .*"iscrowd": NaN'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "key", "change", "complaint"),
    WRONG,
    ids=[f"{kind}-{change!a:.60}" for kind, _, change, _ in WRONG],
)
def test_a_value_that_would_fail_or_mislead_later_is_refused_by_name(pets, kind, key, change, complaint):
    getattr(pets, kind)[key][0].update(change)
    message = refusal(pets)
    assert f"{kind}_train.json: " in message
    assert re.search(complaint, message), message


@pytest.mark.parametrize("kind", IRREGULAR)
def test_an_image_file_that_is_no_regular_file_is_recorded_on_opening(pets, kind):
    pets.file(1).unlink()
    make_irregular(pets.file(1), kind)
    root = pets.write()
    before, after = (image.unusable for image in open_all(root).images)
    assert (before, after) == (f"image file cannot be used: is {kind}", None)


def test_an_image_below_a_file_or_at_the_end_of_a_loose_link_is_missing(pets):
    for entries in (pets.captions["images"], pets.instances["images"]):
        entries[0]["file_name"] = "000002.jpg/1.jpg"
    pets.add(3, picture=False)
    pets.file(3).symlink_to("nowhere.jpg")
    missing = "image file missing"
    assert [image.unusable for image in open_all(pets.write()).images] == [missing, None, missing]


@pytest.mark.parametrize("kind", ["captions", "instances"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "Input data was truncated"),
        (b"[1, 2]", "Expected `object`, got `array`, near: .1, 2"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"images": [1], "annotations": []}', r"images\[0\]: 1: Expected `object`"),
        (b'{"images": {}}', r"Expected `array`, got `object` - at `\$.images`"),
        (b'{"images": []}', "Object missing required field `annotations`"),
        (b"\xff\xfe\xff", "can't decode"),
        (b'{"images": [{"id": 1, "file_name": "\xe9"}], "annotations": []}', r"images\[0\]: .* can't decode"),
        (b"[" * 200_000, r"Expected `object`, got `array`, near: \[\["),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"annotations": [], "images": [' + b"9" * 5000 + b"]}", r"images\[0\]: Exceeds the limit"),
        (b'{"images": [], "annotations": [], "images": []}', "the key 'images' occurs twice"),
        (b'{"images": [{"id": 1}], "im\\u0061ges": [], "annotations": []}', "the key 'images' occurs twice"),
        (b'{"images": [], "info": 1, "annotations": [{}], "info": 2}', "the key 'info' occurs twice"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_file_that_is_not_such_json_is_refused_in_one_line(pets, kind, content, complaint):
    path = pets.write() / "annotations" / f"{kind}_train.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{kind}_train.json: .*{complaint}") as error:
        open_all(pets.root)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize("again", ['"iscrowd"', '"iscrowd" ', r'"iscr\u006fwd"'])
def test_a_key_that_an_entry_has_twice_is_refused(pets, again):
    path = pets.write() / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace('"iscrowd": 0', f'"iscrowd": 0, {again}: 1'))
    with pytest.raises(DatasetError, match=r"the key 'iscrowd' occurs twice in the object of id 1$"):
        open_all(pets.root)


def test_a_key_that_an_object_and_one_inside_of_it_have_is_read(pets):
    pets.instances["annotations"][0]["attributes"] = {"id": 5, "bbox": "none"}
    assert open_all(pets.write()).images[0].objects[0].box == (4, 4, 10, 8)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_every_encoding_that_json_may_have_is_read(pets, encoding):
    pets.captions["annotations"][0]["caption"] = "a dög 🐕"
    path = pets.write() / "annotations" / "captions_train.json"
    path.write_text(json.dumps(pets.captions, ensure_ascii=False), encoding=encoding)
    assert open_all(pets.root).images[0].captions[0].text == "a dög 🐕"


def test_a_named_pipe_in_place_of_annotations_is_not_waited_for(pets):
    path = pets.write() / "annotations" / "instances_train.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DatasetError, match=r"instances_train.json: is a named pipe"):
        open_all(pets.root)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_in_place_of_a_value_is_read_as_what_it_is_or_refused(pets, data):
    captions, instances = copy.deepcopy(pets.captions), copy.deepcopy(pets.instances)
    content = data.draw(st.sampled_from([captions, instances]))
    entry = content[data.draw(st.sampled_from(sorted(content)))][0]
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(ANYTHING)
    for kind, changed in (("captions", captions), ("instances", instances)):
        (pets.root / "annotations" / f"{kind}_train.json").write_text(json.dumps(changed))
    try:
        images = open_all(pets.root).images
    except DatasetError as error:
        assert "\n" not in str(error)
        return
    for image in images:
        for caption in image.captions:
            assert caption.text.encode().decode() == caption.text and caption.caption_id.bit_length() < 64
        assert all(math.isfinite(sum(one.box)) for one in image.objects)
