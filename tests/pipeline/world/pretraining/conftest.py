from pathlib import Path

import pytest
import torch

from pipeline.world.pretraining.architecture import CONTEXT_LENGTH, write_config
from pipeline.world.pretraining.phrases import vocabulary
from pipeline.world.pretraining.pool import ScenePool, render_example, training_scene
from pipeline.world.pretraining.tokenizer import write_tokenizer


@pytest.fixture(scope="session")
def small_pool() -> ScenePool:
    """Six rendered scenes, three of which state a relation."""
    drawn = [training_scene(3, number) for number in range(60)]
    related = [scene for scene in drawn if scene.relation is not None]
    scenes = [*related[:3], *(scene for scene in drawn if scene.relation is None)][:6]
    pixels, labels = zip(*(render_example(scene) for scene in scenes), strict=True)
    return ScenePool(
        scenes,
        torch.stack([torch.from_numpy(entry) for entry in pixels]),
        torch.stack([torch.from_numpy(entry) for entry in labels]),
    )


@pytest.fixture
def untrained_folder(tmp_path: Path) -> Path:
    """A model's folder with configuration and tokenizer, and no weights."""
    folder = tmp_path / "untrained"
    folder.mkdir()
    write_config(folder, write_tokenizer(folder, vocabulary(), CONTEXT_LENGTH))
    return folder
