"""The committed tiny SigLIP, copied to where a test can change one thing about it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions

TINY = Path(__file__).parents[3] / "models/tiny-siglip"

CAPTIONS = [
    "A red boat on the beach.",
    "two small cats",
    "  The  CAT   and a house, at night ",
    "a Zebra </s> boat",
    "red " + " ".join(["boat"] * 40) + " night",
    "",
]
"""Capitals, spaces, marks, a word that is unknown, a special token spelled out, one that is too long, and nothing."""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the tiny SigLIP's folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in TINY.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="session")
def load() -> Callable[..., Backbone]:
    def load(folder: Path, **options: Any) -> Backbone:
        return load_backbone(BackboneOptions(model=f"local-dir:{folder}", **options))

    return load


@pytest.fixture(scope="session")
def tiny(load: Callable[..., Backbone]) -> Backbone:
    return load(TINY)


def edit(file: Path, key: str, value: Any) -> None:
    """Set the dotted `key` of a JSON file."""
    content = json.loads(file.read_text())
    *parents, last = key.split(".")
    inner = content
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    file.write_text(json.dumps(content))


def activations(backbone: Backbone) -> list[torch.Tensor]:
    """Everything that a cache would hold of a few pairs."""
    noise = torch.randint(0, 256, (90, 150, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels = backbone.preprocess(Image.fromarray(noise.numpy()))
    ids, valid = backbone.tokenize(CAPTIONS)
    vision, text = backbone.encode_images(pixels[None]), backbone.encode_texts(ids)
    return [vision.tokens, vision.pooled, ids, valid, text.tokens, text.pooled]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
