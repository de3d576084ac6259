"""The options of VL-SAE's decoding, apart from it: they are read where no language model is loaded."""

from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.config import Options
from pipeline.datasets.options import DatasetOptions
from pipeline.errors import ConfigError
from pipeline.sae.vl_sae.options import AuxiliaryAutoencoderOptions, VLSAEOptions
from pipeline.training.options import TrainOptions


class PromptOptions(Options):
    """How an image and a text become a prompt."""

    template: str = Field(
        default="USER: <image>\n{text} ASSISTANT:",
        description="the prompt, with the processor's image placeholder and {text} in this order; LLaVA-1.5's",
    )

    @field_validator("template")
    @classmethod
    def _has_a_place_for_the_text(cls, template: str) -> str:
        if template.count("{text}") != 1:
            raise ValueError("the template needs {text} exactly once")
        return template


class StateOptions(Options):
    """Which states of which model are read."""

    model: str = Field(
        description="a model like LlavaForConditionalGeneration: local-dir:FOLDER, the folder alone, or "
        "hf-hub:OWNER/NAME to download it"
    )
    prompt: PromptOptions = PromptOptions()
    layer: int = Field(
        default=30, ge=0, description="decoder layer whose input is read and moved; 30 of LLaVA-1.5-7B's 32"
    )
    batch_size: int = Field(default=16, gt=0, description="pairs, or questions, in one forward pass")
    device: str = Field(default="auto", description="`auto`, or a torch device such as `cuda:0`")


class ConceptEditOptions(Options):
    """How far text states are moved; the defaults are VL-SAE's for POPE."""

    strength: float = Field(
        default=0.8, ge=0, le=1, description="share of the reconstruction in the new mean text state, a"
    )
    vision_share: float = Field(
        default=0.9, ge=0, le=1, description="share of the image's codes in what is reconstructed, beta"
    )


class DecodingOptions(Options):
    """How the second pass enters the answer; the defaults are VL-SAE's for POPE."""

    edited_weight: float = Field(
        default=0.6, ge=0, le=1, description="share of the second pass in the logits, c"
    )
    plausibility: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="tokens less likely than this share of the likeliest are never taken, b; 0 masks none",
    )


class PollingOptions(Options):
    """How many questions are asked; the defaults are POPE's."""

    images: int = Field(
        default=500, gt=0, description="images asked about, drawn from those with enough objects"
    )
    objects: int = Field(
        default=3,
        gt=0,
        description="objects asked about per image, and as many absent ones; fewer: not asked",
    )
    seed: int = Field(default=0, ge=0, description="draws the images, their objects, and random negatives")


class HallucinationOptions(Options):
    """POPE with and without VL-SAE's decoding; training defaults are for states of width 128.

    A group of which only some options are given keeps the defaults of this class for the others.
    """

    states: StateOptions
    dataset: DatasetOptions | None = Field(
        default=None,
        description="captioned pictures with instances, in the splits `train` and `val`; the section `dataset`'s by "
        "default",
    )
    pairs: int = Field(
        default=3000, ge=2, description="captioned training pictures whose states are learned from"
    )
    autoencoder: AuxiliaryAutoencoderOptions = AuxiliaryAutoencoderOptions(
        batch_pairs=256, learning_rate=1e-3, epochs=60
    )
    sae: VLSAEOptions = VLSAEOptions(latents=1024, k=64)
    train: TrainOptions = TrainOptions.parse(
        {"epochs": 60, "batch_pairs": 256, "learning_rate": 1e-3, "weight_decay": 0, "warmup_steps": 50},
        "train",
    )
    edit: ConceptEditOptions = ConceptEditOptions()
    decoding: DecodingOptions = DecodingOptions()
    polling: PollingOptions = PollingOptions(images=150, objects=2)
    seeds: int = Field(default=3, ge=1, description="draws of questions, from polling.seed on")

    @field_validator("autoencoder", "sae", "train", "polling", mode="before")
    @classmethod
    def _fill_in(cls, values: Any, info: ValidationInfo) -> Any:
        defaults = cls.model_fields[str(info.field_name)].default
        return defaults.model_dump() | values if isinstance(values, dict) else values

    @field_validator("sae")
    @classmethod
    def _reads_the_embeddings(cls, sae: VLSAEOptions) -> VLSAEOptions:
        if sae.inputs != "pooled":
            raise ValueError(
                "inputs must be pooled: what is edited are the auxiliary autoencoder's embeddings"
            )
        return sae

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        if self.train.batch_pairs > self.pairs:
            raise ValueError(
                f"train.batch_pairs = {self.train.batch_pairs} is more than the {self.pairs} pairs; lower it, or raise "
                "pairs"
            )
        return self


def hallucination_options(
    section: HallucinationOptions | None,
    model: str | None = None,
    layer: int | None = None,
    template: str | None = None,
) -> HallucinationOptions:
    """The section `hallucination` of `params.yaml`, if there is one, with what a command line says instead.

    Raises:
        ConfigError: neither names a model, or a value is out of range.
    """
    values = section.model_dump() if section else {"states": {}}
    prompt = {"template": template} if template is not None else None
    changes = {"model": model, "layer": layer, "prompt": prompt}
    states = values["states"] | {key: value for key, value in changes.items() if value is not None}
    if "model" not in states:
        raise ConfigError(
            "hallucination.states.model: no vision-language decoder is named; name one there in params.yaml or as the "
            "command's argument: local-dir:FOLDER, or hf-hub:OWNER/NAME to download it"
        )
    return HallucinationOptions.parse(values | {"states": states}, "hallucination")
