"""Which backbone: apart from the code that runs it, so that validating options does not import open_clip."""

from typing import Literal

from pydantic import Field

from pipeline.config import Options

RANDOM = "random"


class BackboneOptions(Options):
    """Which model encodes, with which weights, and which of its layers is cached."""

    model: str = Field(
        default="local-dir:models/tiny-siglip",
        description="an open_clip model: a built-in name, local-dir:FOLDER or hf-hub:OWNER/NAME",
    )
    weights: str | None = Field(
        default=None,
        description="of a built-in name: a pretrained tag or a file; 'random' for random weights; else null",
    )
    tokenizer: str | None = Field(
        default=None,
        description="the tokenizer of this open_clip model, which must state the same one as the model's own",
    )
    layer: Literal["last"] | int = Field(
        default="last", description="block whose output is cached, in both towers; counted as Python does"
    )
    device: str = Field(default="cpu", description="torch device of the forward pass")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="number format of the weights and of the forward pass"
    )
    seed: int = Field(default=0, ge=0, description="seed of random weights")
