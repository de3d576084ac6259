"""A real backbone with random weights, whose embeddings (8) are narrower than its tokens (16)."""

import json
from pathlib import Path

import pytest

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.world.pretraining.phrases import vocabulary
from pipeline.world.pretraining.tokenizer import END_ID, write_tokenizer


@pytest.fixture(scope="session")
def backbone_options(tmp_path_factory: pytest.TempPathFactory) -> BackboneOptions:
    folder = tmp_path_factory.mktemp("backbone")
    words = write_tokenizer(folder, vocabulary(), context_length=16)
    vision = {"image_size": 32, "patch_size": 16, "width": 16, "head_width": 8, "layers": 1}
    text = {
        "context_length": 16,
        "vocab_size": words,
        "hf_tokenizer_name": str(folder),
        "width": 16,
        "heads": 2,
        "layers": 1,
        "pad_id": END_ID,
        "eos_id": END_ID,
        "pool_type": "eos",
    }
    config = {
        "model_cfg": {"embed_dim": 8, "custom_text": True, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"size": [32, 32], "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return BackboneOptions(model=f"local-dir:{folder}", weights="random")


@pytest.fixture(scope="session")
def backbone(backbone_options: BackboneOptions) -> Backbone:
    return load_backbone(backbone_options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three different pictures each."""
    for name in ("cat", "red_boat"):
        for number in range(3):
            write_picture(tmp_path / "images" / name / f"{number}.png", seed=f"{name}{number}")
    return tmp_path / "images"


def write_picture(path: Path, seed: str) -> None:
    import random

    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", (6, 5), random.Random(seed).randbytes(90)).save(path)
