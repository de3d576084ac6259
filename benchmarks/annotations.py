"""What opening a data set as large as COCO's takes: `python -m benchmarks.annotations --folder FOLDER --json FILE`.

Annotations as many and as long as those of COCO 2017's training set, written once into the folder: five captions an
image, outlines of 25 corners. Only the first picture exists; the others are looked for and recorded as missing. *open*
is `CocoDataset.open` with one caption an image or with all of them; *json* is Python's `json.load` of both files, which
checks nothing. Every round runs in a process of its own, whose most memory is stated. Seconds are those of one core
(nothing here uses a second one), so that what else a machine does counts for less.
"""

import argparse
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.options import CaptionsPerImage

SPLIT, CATEGORIES, OUTLINES, CORNERS = "train2017", 80, 1000, 25
CAPTION = "A man riding a wave on top of a white surfboard, number {number}."


def write_annotations(root: Path, images: int, objects: int) -> int:
    """Write both annotation files and the first picture; returns the bytes of the files.

    Args:
        root: folder of the data set; files of an earlier run stay.
        images: listed in both files, with five captions each.
        objects: outlined ones, spread over the images in turn.
    """
    files = {kind: root / "annotations" / f"{kind}_{SPLIT}.json" for kind in ("captions", "instances")}
    picture = root / SPLIT / _image_entry(0)["file_name"]
    for folder in (picture.parent, files["captions"].parent):
        folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (640, 480)).save(picture)
    entries = {"captions": partial(_caption_entry, images), "instances": _InstanceEntries(images)}
    counts = {"captions": 5 * images, "instances": objects}
    for kind, path in files.items():
        with path.open("w", encoding="utf-8") as file:
            file.write('{"info": {"description": "as large as COCO 2017"}, "images": ')
            _write_list(file, map(_image_entry, range(images)))
            file.write(', "annotations": ')
            _write_list(file, map(entries[kind], range(counts[kind])))
            if kind == "instances":
                file.write(', "categories": ')
                _write_list(file, ({"id": n, "name": f"thing {n}"} for n in range(CATEGORIES)))
            file.write("}")
    return sum(path.stat().st_size for path in files.values())


def _write_list(file: TextIO, entries: Iterator[dict[str, Any]]) -> None:
    for number, entry in enumerate(entries):
        file.write(("[" if number == 0 else ", ") + json.dumps(entry))
    file.write("]")


def _image_entry(number: int) -> dict[str, Any]:
    return {
        "license": 3,
        "file_name": f"{number:012d}.jpg",
        "coco_url": f"http://images.cocodataset.org/train2017/{number:012d}.jpg",
        "height": 480,
        "width": 640,
        "date_captured": "2013-11-14 16:28:13",
        "flickr_url": f"http://farm4.staticflickr.com/3153/{number:010d}_cbb3b0a9f5_z.jpg",
        "id": number,
    }


def _caption_entry(images: int, number: int) -> dict[str, Any]:
    return {"image_id": number % images, "id": number, "caption": CAPTION.format(number=number)}


class _InstanceEntries:
    """Objects of outlines that come back after a thousand others."""

    def __init__(self, images: int) -> None:
        """Draw the outlines; objects go to each of so many images in turn."""
        generator = random.Random(0)
        self._images = images
        self._outlines = [
            [round(generator.uniform(10, 470), 2) for _ in range(2 * CORNERS)] for _ in range(OUTLINES)
        ]

    def __call__(self, number: int) -> dict[str, Any]:
        """The entry of an object."""
        outline = self._outlines[number % OUTLINES]
        left, top, right, bottom = (
            min(outline[::2]),
            min(outline[1::2]),
            max(outline[::2]),
            max(outline[1::2]),
        )
        return {
            "segmentation": [outline],
            "area": 1000.5 + number,
            "iscrowd": 0,
            "image_id": number % self._images,
            "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
            "category_id": number % CATEGORIES,
            "id": number,
        }


def open_dataset(root: Path, captions_per_image: CaptionsPerImage) -> None:
    """Open it as encoding does."""
    CocoDataset.open(root, SPLIT, captions_per_image=captions_per_image)


def load_json(root: Path) -> None:
    """Parse both files, kept at once as the reader of both would."""
    contents = [json.loads(path.read_bytes()) for path in sorted((root / "annotations").glob("*.json"))]
    assert len(contents) == 2


def _measured(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of one core that the work took, and the most mebibytes that this process ever had."""
    started = time.process_time()
    work()
    taken = time.process_time() - started
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_its_own_process(work: Callable[[], None]) -> tuple[float, float]:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work,))


def main(command_line: list[str] | None = None) -> None:
    """Measure; print, and write to the file asked for."""
    # Imported here: with torch in it, a process would have 300 MiB before it opens anything.
    from benchmarks.measurement import Spread, interleaved, paired_ratio, write_result  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--objects", type=int, default=1_100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    size = write_annotations(arguments.folder, arguments.images, arguments.objects)
    work = {
        "open, one caption": partial(open_dataset, arguments.folder, "one"),
        "open, all captions": partial(open_dataset, arguments.folder, "all"),
        "json": partial(load_json, arguments.folder),
    }
    rounds = interleaved(
        {name: partial(_in_its_own_process, one) for name, one in work.items()}, arguments.rounds
    )
    taken = {name: [time for time, _ in measured] for name, measured in rounds.items()}
    memory = {name: [peak for _, peak in measured] for name, measured in rounds.items()}
    write_result(
        arguments,
        "benchmarks.annotations",
        ratios={
            "json_over_open": paired_ratio(taken["json"], taken["open, one caption"]),
            "json_memory_over_open": paired_ratio(memory["json"], memory["open, one caption"]),
        },
        measured={
            **{name: Spread.of(values, "s") for name, values in taken.items()},
            **{f"{name}, memory": Spread.of(values, "MiB") for name, values in memory.items()},
        },
        conditions={
            "images": arguments.images,
            "captions": 5 * arguments.images,
            "objects": arguments.objects,
            "megabytes_of_annotations": round(size / 1e6, 1),
            "rounds": arguments.rounds,
        },
        packages=("msgspec",),
    )


if __name__ == "__main__":
    main()
