"""Small data sets in COCO layout, written by each test as it needs them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class CocoFolder:
    """A data set in COCO layout under construction: add images and captions, then `write`."""

    def __init__(self, root: Path, split: str = "train") -> None:
        self.root, self.split = root, split
        self.captions: dict = {"images": [], "annotations": []}
        self.instances: dict | None = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "dog"}],
        }
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir()

    def add(self, image_id, captions=("a dog",), size=(48, 32), picture=None, **extra):
        """List an image with its captions; draw noise unless `picture` is given (False: write no file)."""
        entry = {
            "id": image_id,
            "file_name": f"{image_id:06d}.jpg",
            "width": size[0],
            "height": size[1],
            **extra,
        }
        self.captions["images"].append(entry)
        for text in captions:
            caption_id = len(self.captions["annotations"]) + 1
            self.captions["annotations"].append({"id": caption_id, "image_id": image_id, "caption": text})
        if self.instances is not None:
            self.instances["images"].append(entry)
        if picture is None:
            noise = np.random.default_rng(image_id).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            picture = Image.fromarray(noise)
        if picture is not False:
            picture.save(self.file(image_id))
        return entry

    def file(self, image_id):
        return self.root / self.split / f"{image_id:06d}.jpg"

    def add_object(self, image_id, box=(4, 4, 10, 8), **extra):
        annotations = self.instances["annotations"]
        left, top, width, height = box
        outline = [left, top, left + width, top, left + width, top + height, left, top + height]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": list(box),
                "segmentation": [outline],
                "iscrowd": 0,
                **extra,
            }
        )

    def write(self):
        for kind, content in (("captions", self.captions), ("instances", self.instances)):
            if content is not None:
                path = self.root / "annotations" / f"{kind}_{self.split}.json"
                path.write_text(json.dumps(content))
        return self.root


@pytest.fixture
def folder(tmp_path):
    return CocoFolder(tmp_path / "pets")
