"""A real backbone with random weights, and caches of the world of axes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cache import ActivationCache
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.world.pretraining.tokenizer import END_ID, write_tokenizer

from .axis_world import CHANNELS, PATCH, SIZE, WORDS, Scene, write_cache


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A real open_clip model with random weights and a word-level tokenizer."""
    folder = tmp_path_factory.mktemp("backbone")
    vocabulary = write_tokenizer(folder, [*WORDS, "cats", "boats"], context_length=16)
    config = {
        "model_cfg": {
            "embed_dim": CHANNELS,
            "custom_text": True,
            "vision_cfg": {
                "image_size": SIZE,
                "patch_size": PATCH,
                "width": CHANNELS,
                "head_width": 16,
                "layers": 1,
            },
            "text_cfg": {
                "context_length": 16,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": str(folder),
                "width": CHANNELS,
                "heads": 2,
                "layers": 1,
                "pad_id": END_ID,
                "eos_id": END_ID,
                "pool_type": "eos",
            },
        },
        "preprocess_cfg": {"size": [SIZE, SIZE], "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return load_backbone(BackboneOptions(model=f"local-dir:{folder}", weights="random"))


@pytest.fixture
def build_cache(backbone: Backbone, tmp_path: Path) -> Callable[..., ActivationCache]:
    def build(
        scenes: Sequence[Scene], noise: float = 0.0, name: str = "cache", unit: float = 1.0
    ) -> ActivationCache:
        return write_cache(tmp_path / f"{name}.zarr", scenes, backbone, noise, unit)

    return build
