"""The options of training, whatever is trained."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from pipeline.config import Options

ControlName = Literal["untrained", "frozen_decoder", "soft_frozen_decoder", "deranged"]

CONTROLS: Mapping[ControlName, Mapping[str, Any]] = {
    "untrained": {"epochs": 0},
    "frozen_decoder": {"decoder_cosine": 1.0},
    "soft_frozen_decoder": {"decoder_cosine": 0.8},
    "deranged": {"pairs": "deranged"},
}
"""Options that keep a dictionary from learning something, by what such a control is called."""

_DECIDE_NO_WEIGHT = {"device", "placement", "checkpoint_every", "record_every"}


class TrainOptions(Options):
    """How a dictionary is trained; defaults are the paper's where it gives them (LUCID, arXiv 2602.07311)."""

    seed: int = Field(0, ge=0, description="decides initial weights and batch order")
    epochs: int = Field(
        200, ge=0, description="times that every pair is seen; 0 leaves the dictionary untrained"
    )
    batch_pairs: int = Field(256, ge=1, description="pairs per step")
    pairs: Literal["paired", "deranged"] = Field(
        "paired",
        description="deranged gives every image another one's caption, as the seed decides: a control",
    )
    decoder_cosine: float | None = Field(
        None,
        ge=0,
        le=1,
        description="least cosine of a decoder direction with where it began: 1 freezes the decoder, .8 is the "
        "soft-frozen one of arXiv 2602.14111; null lets it learn",
    )
    learning_rate: float = Field(
        3e-4, gt=0, description="AdamW's highest, after warm-up; a cosine leads to 0"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's; matrices only, biases are not decayed")
    warmup_steps: int = Field(500, ge=0, description="linear warm-up before the cosine; the paper gives none")
    clip_norm: float = Field(1.0, gt=0, description="largest global gradient norm; the paper gives none")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="autocast over float32 weights")
    device: str = Field("auto", description="`auto`, or a torch device such as `cuda:0`")
    placement: Literal["auto", "device", "host", "stream"] = Field(
        "auto", description="where the cache lives"
    )
    checkpoint_every: int = Field(200, ge=1, description="steps between checkpoints")
    record_every: int = Field(10, ge=1, description="steps between records of the losses")

    def decisive(self) -> dict[str, Any]:
        """Plain JSON values of the options that decide the trained weights, on one kind of machine.

        A training may go on under any values of the others.
        """
        return self.model_dump(mode="json", exclude=_DECIDE_NO_WEIGHT)
