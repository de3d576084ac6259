"""How the tiny LLaVA is built and trained."""

from pydantic import Field

from pipeline.config import Options
from pipeline.language_models.options import PollingOptions


class InstructionTuningOptions(Options):
    """A small LLaVA (arXiv 2304.08485) on a frozen vision tower."""

    seed: int = Field(default=0, ge=0, description="seed of the pictures, the weights and the conversations")
    pictures: int = Field(default=4000, gt=0, description="training pictures, of the skewed world")
    test_pictures: int = Field(default=1000, gt=0, description="test pictures, of the ordinary world")
    steps: int = Field(default=400, gt=0, description="optimizer steps")
    images: int = Field(default=32, gt=0, description="images, and conversations, per step")
    questions: int = Field(default=8, gt=0, description="yes-or-no questions in a conversation")
    yes_share: float = Field(default=0.5, gt=0, lt=1, description="share of questions whose truth is yes")
    caption_weight: float = Field(default=0.2, ge=0, description="of the captions' loss; the answers' has 1")
    learning_rate: float = Field(default=1e-3, gt=0, description="AdamW's highest")
    warmup_steps: int = Field(default=50, ge=0, description="linear, before the linear decay to 0")
    weight_decay: float = Field(default=0.05, ge=0, description="decoupled decay of the matrices")
    layers: int = Field(default=2, gt=0, description="decoder layers; their width is the vision tower's")
    heads: int = Field(default=2, gt=0, description="attention heads of a decoder layer")
    feed_forward: int = Field(default=384, gt=0, description="width inside a layer's gated MLP")
    polling: PollingOptions = PollingOptions(images=300, objects=2, seed=2024)

    def schedule(self) -> tuple[tuple[int, float], ...]:
        """Give (step, factor) of the learning rate; it is linear between them."""
        return (-1, 0.0), (self.warmup_steps, 1.0), (self.steps, 0.0)
