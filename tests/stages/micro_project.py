"""A project small enough to train and measure in a second: scenes of 32 pixels, a random backbone, two caches."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipeline.params import load_params
from pipeline.world.pretraining.tokenizer import write_tokenizer
from pipeline.world.scenes.write import write_split
from stages.encode import encode_cache

ROOT = Path(__file__).parents[2]
RUN = Path("runs/lucid")
IMAGES = {"train": 12, "val": 8}
STEPS = 9


def write_model(folder: Path) -> None:
    """An open_clip folder without weights: 2 x 2 patches of 16 pixels."""
    folder.mkdir()
    tower = {"width": 16, "layers": 2}
    words = ["a", "the", "red", "blue", "small", "boat", "house", "cat", "on", "and", "two"]
    vocabulary = write_tokenizer(folder, words, 32)
    text = {"context_length": 32, "vocab_size": vocabulary, "heads": 2, "hf_tokenizer_name": "small", **tower}
    vision = {"image_size": 32, "patch_size": 16, "head_width": 8, **tower}
    model = {"embed_dim": 12, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    preprocessing = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = {"model_cfg": model, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Be in `folder` while the block runs."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def write_project(folder: Path) -> None:
    """Scenes, backbone, `params.yaml` and encoded caches below `folder`."""
    for split, images in IMAGES.items():
        write_split(folder / "scenes", split, images, image_size=32)
    write_model(folder / "model")
    values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["dataset"] |= {"root": str(folder / "scenes"), "splits": {split: split for split in IMAGES}}
    values["backbone"] = {"model": f"local-dir:{folder / 'model'}", "weights": "random"}
    values["encode"] = {"batch_size": 4, "decode_workers": 1}
    values["sae"] = {"latents": 32, "k_shared": 2, "k_private": 2}
    values["train"] = {
        "epochs": 3,
        "batch_pairs": 4,
        "checkpoint_every": 2,
        "record_every": 2,
        "device": "cpu",
    }
    values["variants"] = {"lucid": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with working_in(folder):
        params = load_params(Path("params.yaml"))
        for split in IMAGES:
            encode_cache(params, split)


def change_params(folder: Path, section: str, **values: Any) -> None:
    """Other values in a section of `params.yaml`."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content[section] |= values
    path.unlink()  # several projects may share it
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, but for the one that says which software was used."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "software.json"
    }
