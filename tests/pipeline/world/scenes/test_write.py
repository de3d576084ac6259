import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pipeline.datasets.coco import CocoDataset
from pipeline.world.scenes.draw import render
from pipeline.world.scenes.lexicon import VOCABULARY, words
from pipeline.world.scenes.masks import RunLengths, encode_mask
from pipeline.world.scenes.options import ScenesOptions
from pipeline.world.scenes.scene import NOUNS, held_out
from pipeline.world.scenes.write import scene_of, write_scenes, write_split

SIZE = 64
OPTIONS = ScenesOptions(seed=5, image_size=SIZE, train=12, val=6, ood=6)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, OPTIONS)
    return folder


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_decode_to_the_mask(mask: np.ndarray) -> None:
    assert np.array_equal(_decoded(encode_mask(mask)), mask)


def test_run_lengths_of_a_known_mask() -> None:
    mask = np.array([[True, False, False], [True, True, False]])
    assert encode_mask(mask) == {"size": [2, 3], "counts": [0, 2, 1, 1, 2]}


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("val", 6), ("ood", 6)])
def test_annotations_follow_the_coco_layout(root: Path, split: str, count: int) -> None:
    captions, instances = _load(root, "captions", split), _load(root, "instances", split)
    assert captions["images"] == instances["images"] and len(captions["images"]) == count
    assert {"info", "licenses", "images", "annotations"} <= set(captions)
    assert [(c["id"], c["name"]) for c in instances["categories"]] == list(enumerate(NOUNS, start=1))
    ids = {image["id"] for image in captions["images"]}
    for image in captions["images"]:
        assert image["file_name"] == f"{image['id']:012d}.jpg"
        with Image.open(root / split / image["file_name"]) as picture:
            assert picture.format == "JPEG" and picture.size == (image["width"], image["height"]) == (
                SIZE,
                SIZE,
            )
    assert len(list((root / split).iterdir())) == count
    for content in (captions, instances):
        annotations = content["annotations"]
        assert len({annotation["id"] for annotation in annotations}) == len(annotations)
        assert {annotation["image_id"] for annotation in annotations} == ids
    assert len(captions["annotations"]) == 5 * count


def test_image_ids_are_unique_across_splits(root: Path) -> None:
    ids = [
        image["id"] for split in ("train", "val", "ood") for image in _load(root, "captions", split)["images"]
    ]
    assert len(set(ids)) == len(ids)


def test_instances_carry_exact_boxes_areas_and_masks_of_the_scene(root: Path) -> None:
    content = _load(root, "instances", "train")
    for index, image in enumerate(content["images"]):
        rendered = render(scene_of(OPTIONS.seed, "train", index), SIZE)
        found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        assert len(found) == len(rendered.instances)
        for (thing, _), mask, annotation in zip(rendered.instances, rendered.masks, found, strict=True):
            decoded = _decoded(annotation["segmentation"])
            assert np.array_equal(decoded, mask)
            rows, columns = np.nonzero(decoded)
            size = [columns.max() - columns.min() + 1, rows.max() - rows.min() + 1]
            assert annotation["bbox"] == [columns.min(), rows.min(), *size]
            assert annotation["area"] == decoded.sum() and annotation["iscrowd"] == 0
            assert annotation["category_id"] == NOUNS.index(thing.noun) + 1
            assert annotation["concepts"] == list(thing.look())


def test_pictures_show_their_scene_up_to_jpeg_noise(root: Path) -> None:
    for index, image in enumerate(_load(root, "captions", "val")["images"]):
        rendered = render(scene_of(OPTIONS.seed, "val", index), SIZE)
        stored = np.asarray(Image.open(root / "val" / image["file_name"]), dtype=float)
        assert np.abs(stored - rendered.image).mean() < 4


def test_concepts_on_disk_are_the_scenes_and_captions_state_a_part_of_them(root: Path) -> None:
    content = _load(root, "captions", "train")
    for index, image in enumerate(content["images"]):
        assert image["concepts"] == list(scene_of(OPTIONS.seed, "train", index).concepts())
        for annotation in content["annotations"]:
            if annotation["image_id"] == image["id"]:
                assert set(annotation["concepts"]) <= set(image["concepts"])
                assert set(words(annotation["caption"])) <= set(VOCABULARY)


def test_only_the_ood_split_shows_held_out_combinations(root: Path) -> None:
    for split, expected in (("train", False), ("val", False), ("ood", True)):
        content = _load(root, "instances", split)
        for image in content["images"]:
            looks = [dict(fact.split(":") for fact in a["concepts"]) for a in _of(content, image)]
            assert any(held_out(look["noun"], look["colour"]) for look in looks) is expected


def test_an_image_does_not_depend_on_how_many_are_drawn(root: Path, tmp_path: Path) -> None:
    write_split(tmp_path, "train", 3, image_size=SIZE, seed=OPTIONS.seed)
    for image in _load(tmp_path, "captions", "train")["images"]:
        file = Path("train") / image["file_name"]
        assert (tmp_path / file).read_bytes() == (root / file).read_bytes()
    few, many = _load(tmp_path, "captions", "train"), _load(root, "captions", "train")
    assert few["annotations"] == many["annotations"][:15]


def test_several_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_split(tmp_path / str(workers), "val", 40, image_size=32, workers=workers)
    assert _contents(tmp_path / "1") == _contents(tmp_path / "2")


def test_every_image_is_a_scene_of_its_own() -> None:
    assert len({scene_of(0, split, index) for split in ("train", "val") for index in range(50)}) == 100


def test_another_seed_gives_another_world(root: Path, tmp_path: Path) -> None:
    write_split(tmp_path, "val", 6, image_size=SIZE, seed=OPTIONS.seed + 1)
    assert _load(tmp_path, "captions", "val")["annotations"] != _load(root, "captions", "val")["annotations"]


def test_an_interrupted_split_has_no_captions_file_and_repeating_it_completes_it(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for folder in ("whole", "interrupted"):
        write_split(tmp_path / folder, "val", 5, image_size=32, seed=0)
    with pytest.raises(KeyboardInterrupt):
        write_split(tmp_path / "interrupted", "val", 5, image_size=32, seed=1, on_progress=stop)
    assert not (tmp_path / "interrupted/annotations/captions_val.json").exists()
    write_split(tmp_path / "interrupted", "val", 5, image_size=32, seed=0)
    assert _contents(tmp_path / "whole") == _contents(tmp_path / "interrupted")


def test_a_smaller_split_replaces_a_larger_one(tmp_path: Path) -> None:
    for count in (5, 2):
        write_split(tmp_path, "val", count, image_size=32)
    assert len(list((tmp_path / "val").iterdir())) == 2


def test_drawing_another_world_leaves_a_picture_as_it_was_under_its_other_name(tmp_path: Path) -> None:
    write_split(tmp_path, "val", 1, image_size=SIZE)
    picture, link = next((tmp_path / "val").iterdir()), tmp_path / "link.jpg"
    link.hardlink_to(picture)
    before = link.read_bytes()
    write_split(tmp_path, "val", 1, image_size=SIZE, seed=1)
    assert picture.read_bytes() != before == link.read_bytes()


def test_progress_counts_the_images_of_all_splits(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    options = ScenesOptions(image_size=32, train=3, val=2, ood=1)
    write_scenes(tmp_path, options, lambda done, total: told.append((done, total)))
    assert told == [(3, 6), (5, 6), (6, 6)]


def test_the_split_opens_as_a_coco_data_set(root: Path) -> None:
    dataset = CocoDataset.open(root, "ood")
    assert len(dataset.images) == OPTIONS.ood
    for index, image in enumerate(dataset.images):
        scene = scene_of(OPTIONS.seed, "ood", index)
        assert image.concepts == scene.concepts()
        assert [found.category for found in image.objects] == [thing.noun for thing, _ in scene.instances()]
        assert all(caption.concepts for caption in image.captions)


def _load(root: Path, kind: str, split: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "annotations" / f"{kind}_{split}.json").read_text())
    return content


def _of(content: dict[str, Any], image: dict[str, Any]) -> list[dict[str, Any]]:
    return [annotation for annotation in content["annotations"] if annotation["image_id"] == image["id"]]


def _contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def _decoded(runs: RunLengths) -> np.ndarray:
    """Brute force: pixel after pixel, down each column."""
    height, width = runs["size"]
    mask = np.zeros((height, width), dtype=bool)
    position, value = 0, False
    for count in runs["counts"]:
        for _ in range(count):
            mask[position % height, position // height] = value
            position += 1
        value = not value
    assert position == height * width
    return mask
