"""A tiny LLaVA of two narrow layers around the real tiny SigLIP, and six pictures of the skewed world."""

from copy import deepcopy
from pathlib import Path

import pytest
from jaxtyping import Float
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.coco import CocoDataset
from pipeline.language_models.examples import Example, captioned_examples
from pipeline.world.instruction_tuning.alignment import align_with_siglip
from pipeline.world.instruction_tuning.architecture import create_processor, create_tiny_llava
from pipeline.world.instruction_tuning.companions import companion_scene
from pipeline.world.instruction_tuning.conversations import vocabulary
from pipeline.world.instruction_tuning.features import image_features
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.pretraining.architecture import create_model
from pipeline.world.scenes.write import write_split

SIGLIP = Path("models/tiny-siglip")
OPTIONS = InstructionTuningOptions(
    steps=5, images=2, questions=2, warmup_steps=2, feed_forward=16, learning_rate=3e-3
)


@pytest.fixture(scope="session")
def options() -> InstructionTuningOptions:
    return OPTIONS


@pytest.fixture(scope="session")
def siglip() -> Backbone:
    return load_backbone(BackboneOptions(model=f"local-dir:{SIGLIP}"))


@pytest.fixture(scope="session")
def processor() -> LlavaProcessor:
    return create_processor(vocabulary())


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("companions")
    write_split(folder, "train", 6, image_size=112, scene=companion_scene)
    return folder


@pytest.fixture(scope="session")
def examples(root: Path) -> list[Example]:
    return captioned_examples(CocoDataset.open(root, "train", captions_per_image="all"))


@pytest.fixture(scope="session")
def new_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    return create_tiny_llava(create_model(SIGLIP), len(processor.tokenizer), OPTIONS)


@pytest.fixture(scope="session")
def features(
    new_model: LlavaForConditionalGeneration, processor: LlavaProcessor, examples: list[Example]
) -> Float[Tensor, "image patch channel"]:
    return image_features(new_model, processor, [example.file for example in examples])


@pytest.fixture
def model(
    new_model: LlavaForConditionalGeneration, processor: LlavaProcessor, siglip: Backbone, features: Tensor
) -> LlavaForConditionalGeneration:
    """Aligned; a test may train it."""
    aligned = deepcopy(new_model)
    align_with_siglip(aligned, processor, siglip, features, OPTIONS.seed)
    return aligned
