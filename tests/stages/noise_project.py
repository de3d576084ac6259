"""A project of a few pictures of noise and the embedded backbone, and the `concord` command in it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from stages.cli import app

ROOT = Path(__file__).parents[2]


def run(*arguments: str, status: int = 0) -> str:
    """What a command says that ends with `status`."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.output


def encoded_project(folder: Path, pictures: int, **encode: Any) -> Path:
    """`folder` with options, that many pictures with a caption each, and their cache `data/cache/train.zarr`."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["dataset"] |= {"root": "pets", "splits": {"train": "train"}}
    values["backbone"] = {"model": f"local-dir:{ROOT / 'models/tiny-siglip'}"}
    values["encode"] |= encode
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (folder / "pets/train").mkdir(parents=True)
    (folder / "pets/annotations").mkdir()
    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    for number in range(1, pictures + 1):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"pets/train/{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 32})
        content["annotations"].append({"id": number, "image_id": number, "caption": "a red boat"})
    (folder / "pets/annotations/captions_train.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("encode", "train")
    return folder
