"""The embedded data set on disk, in COCO layout: pictures, captions, boxes and masks, with the true concepts.

A split is a pure function of its seed, name and size: image i is the same however many are asked for and however
many workers draw them. Concepts stand under extra keys that COCO readers pass over.
"""

import json
import multiprocessing
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from pipeline.progress import Advance
from pipeline.runs.files import replace_file
from pipeline.world.scenes.caption import captions
from pipeline.world.scenes.draw import render
from pipeline.world.scenes.masks import encode_mask
from pipeline.world.scenes.options import IDS_PER_SPLIT, ScenesOptions
from pipeline.world.scenes.sampling import Combinations, sample_scene
from pipeline.world.scenes.scene import NOUNS, Scene

SplitName = Literal["train", "val", "ood"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
COMBINATIONS: Mapping[SplitName, Combinations] = {"train": "seen", "val": "seen", "ood": "unseen"}
CAPTIONS_PER_IMAGE = 5

SceneOf = Callable[[int, SplitName, int], Scene]
"""From (seed, split, index) to a scene."""
JsonEntry = dict[str, Any]

_IDS_PER_IMAGE = 100
_CHUNK = 32
_JPEG = {"quality": 95, "subsampling": 0}


class _Annotated(NamedTuple):
    """One image's entries in the annotation files."""

    image: JsonEntry
    captions: list[JsonEntry]
    instances: list[JsonEntry]


def scene_of(seed: int, split: SplitName, index: int) -> Scene:
    """Draw the scene on image `index`, counted from 0, of a split."""
    return sample_scene(random.Random(f"{seed}/{split}/{index}"), COMBINATIONS[split])


def write_scenes(root: Path, options: ScenesOptions, on_progress: Advance | None = None) -> None:
    """Write every split below `root`; `on_progress` is called with (images written, images in all)."""
    counts: dict[SplitName, int] = {"train": options.train, "val": options.val, "ood": options.ood}
    before = 0
    for split, count in counts.items():
        write_split(
            root,
            split,
            count,
            image_size=options.image_size,
            seed=options.seed,
            workers=options.workers,
            on_progress=on_progress and partial(_report, on_progress, before, sum(counts.values())),
        )
        before += count


def write_split(
    root: Path,
    split: SplitName,
    count: int,
    *,
    image_size: int = 224,
    seed: int = 0,
    workers: int = 1,
    scene: SceneOf = scene_of,
    on_progress: Advance | None = None,
) -> None:
    """Write `count` images to `root/split` and their annotations to `root/annotations`.

    An earlier split of that name is replaced. Its captions file goes first and the new one comes last, in one step:
    without it there is no data set, so that one that exists is complete. After an interruption the same call starts
    over and ends in the same files. Workers must be able to import `scene`, which gives the facts.
    """
    folder = root / split
    files = {kind: root / "annotations" / f"{kind}_{split}.json" for kind in ("instances", "captions")}
    files["captions"].unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    files["captions"].parent.mkdir(exist_ok=True)
    drawn: list[_Annotated] = []
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    for chunk in _mapped(partial(_draw_chunk, folder, split, seed, image_size, scene), chunks, workers):
        drawn.extend(chunk)
        if on_progress is not None:
            on_progress(len(drawn), count)
    _remove_others(folder, {entry.image["file_name"] for entry in drawn})
    for kind, content in _annotation_files(split, seed, drawn).items():
        replace_file(files[kind], json.dumps(content, separators=(",", ":")).encode())


def _draw_chunk(
    folder: Path, split: SplitName, seed: int, image_size: int, scene_of: SceneOf, indices: range
) -> list[_Annotated]:
    return [
        _draw_image(folder, split, seed, image_size, index, scene_of(seed, split, index)) for index in indices
    ]


def _draw_image(
    folder: Path, split: SplitName, seed: int, image_size: int, index: int, scene: Scene
) -> _Annotated:
    image_id = SPLITS.index(split) * IDS_PER_SPLIT + index + 1
    first_id = image_id * _IDS_PER_IMAGE
    image: JsonEntry = {
        "id": image_id,
        "file_name": f"{image_id:012d}.jpg",
        "width": image_size,
        "height": image_size,
        "license": 1,
        "concepts": scene.concepts(),
    }
    written = captions(scene, random.Random(f"{seed}/{split}/{index}/captions"), CAPTIONS_PER_IMAGE)
    rendered = render(scene, image_size)
    path = folder / image["file_name"]
    path.unlink(missing_ok=True)  # DVC may keep the old file under another name
    Image.fromarray(rendered.image).save(path, "JPEG", **_JPEG)
    return _Annotated(
        image,
        [
            {
                "id": first_id + number,
                "image_id": image_id,
                "caption": caption.text,
                "concepts": caption.concepts,
            }
            for number, caption in enumerate(written)
        ],
        [
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": NOUNS.index(thing.noun) + 1,
                "bbox": [float(value) for value in box],
                "area": float(np.count_nonzero(mask)),
                "segmentation": encode_mask(mask),
                "iscrowd": 0,
                "concepts": thing.look(),
            }
            for number, ((thing, _), mask, box) in enumerate(
                zip(rendered.instances, rendered.masks, rendered.boxes, strict=True)
            )
        ],
    )


def _annotation_files(split: SplitName, seed: int, drawn: Sequence[_Annotated]) -> dict[str, JsonEntry]:
    """Give the content of the instances and of the captions file, by kind; captions last."""
    header = {
        "info": {
            "description": f"concord's embedded world, split {split}, seed {seed}",
            "version": "1.0",
            "contributor": "concord",
        },
        "licenses": [
            {"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
        ],
        "images": [entry.image for entry in drawn],
    }
    categories = [{"id": i, "name": noun, "supercategory": "thing"} for i, noun in enumerate(NOUNS, start=1)]
    instances = [instance for entry in drawn for instance in entry.instances]
    return {
        "instances": header | {"annotations": instances, "categories": categories},
        "captions": header | {"annotations": [caption for entry in drawn for caption in entry.captions]},
    }


def _mapped(
    draw: Callable[[range], list[_Annotated]], chunks: Sequence[range], workers: int
) -> Iterator[list[_Annotated]]:
    """Give the chunks' results in order, drawn here or by `workers` processes."""
    if workers == 1 or len(chunks) == 1:
        yield from map(draw, chunks)
        return
    with ProcessPoolExecutor(min(workers, len(chunks)), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(draw, chunks)


def _remove_others(folder: Path, wanted: set[str]) -> None:
    """Remove the pictures of an earlier, larger split."""
    for path in folder.glob("*.jpg"):
        if path.name not in wanted:
            path.unlink()


def _report(on_progress: Advance, before: int, total: int, done: int, _count: int) -> None:
    on_progress(before + done, total)
