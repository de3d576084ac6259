"""`params.yaml` as one typed value: every stage's options, validated before any work starts."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, SerializeAsAny, field_validator, model_validator
from pydantic_core import ErrorDetails

from cache import shown_text
from pipeline.backbone.options import BackboneOptions
from pipeline.classification.options import ClassificationOptions
from pipeline.config import Name, Options, concerns_a_group, nearest
from pipeline.datasets.options import DatasetOptions
from pipeline.encoding.options import EncodeOptions
from pipeline.errors import ConfigError
from pipeline.interpretation.options import InterpretOptions
from pipeline.language_models.options import HallucinationOptions
from pipeline.metrics.options import EvaluateOptions
from pipeline.options_file import read_options_file
from pipeline.report.options import ReportOptions
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.registry import ARCHITECTURES, options_type
from pipeline.training.options import CONTROLS, ControlName, TrainOptions
from pipeline.world.scenes.options import ScenesOptions


class _Architecture(Options):
    """The one option that says which others there are."""

    model_config = ConfigDict(extra="ignore")

    architecture: str = "lucid"

    @field_validator("architecture")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in ARCHITECTURES:
            raise ValueError(
                f"no such architecture{nearest(name, ARCHITECTURES)}; there are {', '.join(ARCHITECTURES)}"
            )
        return name


def _options_of_architecture(values: Any) -> ArchitectureOptions:
    """Validated as what `architecture` names, so that messages tell of its options and of no other's."""
    if isinstance(values, ArchitectureOptions):
        return values
    return options_type(_Architecture.model_validate(values).architecture).model_validate(values)


SaeOptions = Annotated[SerializeAsAny[ArchitectureOptions], BeforeValidator(_options_of_architecture)]


class Variant(Options):
    """One SAE recipe: how it is built and how it is trained."""

    train: TrainOptions
    sae: SaeOptions

    @model_validator(mode="after")
    def _match_comes_during_training(self) -> Self:
        matching = self.sae.matching
        if matching and (problem := matching.problem(self.train.epochs)):
            raise ValueError(problem)
        return self

    def with_seed(self, seed: int) -> "Variant":
        """The same recipe with another seed for initial weights and batch order."""
        return self._changed({"seed": seed}, {})

    def scaled(self, budget: int, sparsity: int) -> "Variant":
        """The same recipe with its epochs multiplied by `budget` and its active latents divided by `sparsity`.

        Epochs before a match are a part of all epochs, and grow with them; of each Top-K at least one latent is left.
        """
        sae = self.sae.model_dump()
        changes: dict[str, Any] = {
            key: max(1, sae[key] // sparsity) for key in ("k", "k_shared", "k_private") if key in sae
        }
        if sae["matching"] and sae["matching"]["separate_epochs"]:
            epochs = sae["matching"]["separate_epochs"] * budget
            changes["matching"] = sae["matching"] | {"separate_epochs": epochs}
        return self._changed({"epochs": self.train.epochs * budget}, changes)

    def as_control(self, name: ControlName) -> "Variant":
        """The same recipe, kept from learning something."""
        return self._changed(CONTROLS[name], {})

    def _changed(self, train: Mapping[str, Any], sae: Mapping[str, Any]) -> "Variant":
        values = {"train": self.train.model_dump() | dict(train), "sae": self.sae.model_dump() | dict(sae)}
        return Variant.parse(values, "")


class Params(Options):
    """All of `params.yaml`; `variants` hold only what differs from `train` and `sae`.

    A variant of another architecture than `sae` differs from that architecture's own defaults instead. `hallucination`
    may be left out: it takes a vision-language decoder, which can also be named on the command line.
    """

    scenes: ScenesOptions
    dataset: DatasetOptions
    backbone: BackboneOptions
    encode: EncodeOptions
    train: TrainOptions
    sae: SaeOptions
    variants: dict[Name, Variant] = Field(min_length=1)
    evaluate: EvaluateOptions
    interpret: InterpretOptions
    classify: ClassificationOptions
    hallucination: HallucinationOptions | None = None
    report: ReportOptions

    @field_validator("variants")
    @classmethod
    def _leave_the_folders_of_others_alone(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        if "hallucination" in variants:
            raise ValueError(
                "hallucination: runs/hallucination belongs to `concord hallucination`; take another name"
            )
        return variants

    def variant(self, name: str) -> Variant:
        """The recipe called `name`.

        Raises:
            ConfigError: there is no such variant.
        """
        if name not in self.variants:
            raise ConfigError(
                f"variants.{shown_text(name)}: no such variant{nearest(name, self.variants)}; params.yaml has "
                f"{', '.join(self.variants)}"
            )
        return self.variants[name]

    @classmethod
    def own_problems(cls, problems: Sequence[ErrorDetails]) -> Iterable[ErrorDetails]:
        """Without those that a variant took over from `train` or `sae`, where they are told."""
        told = {problem["loc"]: problem["msg"] for problem in problems}
        for problem in problems:
            loc = problem["loc"]
            told_there = told.get(loc[2:]) if loc[0] == "variants" else None
            if told_there is None or (told_there != problem["msg"] and not concerns_a_group(problem)):
                yield problem


def load_params(path: Path) -> Params:
    """Read and validate `path`.

    Raises:
        ConfigError: the file is missing or not plain YAML, or any key is misspelt, missing or out of range.
    """
    return Params.parse(_with_variants_filled_in(read_options_file(path), path), "")


def _with_variants_filled_in(values: dict[str, Any], path: Path) -> dict[str, Any]:
    variants = values.get("variants")
    if not isinstance(variants, dict):
        raise ConfigError(f"{path}: variants must map each variant's name to the options it overrides")
    defaults = {"train": values.get("train") or {}, "sae": values.get("sae") or {}}
    return values | {"variants": {name: _filled_in(defaults, changes) for name, changes in variants.items()}}


def _filled_in(defaults: dict[str, Any], changes: Any) -> Any:
    """`changes` over `defaults`; but options of one architecture say nothing about another's, which starts anew."""
    changes = {} if changes is None else changes
    if not isinstance(changes, dict):
        return changes
    if _architecture(changes.get("sae"), _architecture(defaults["sae"])) != _architecture(defaults["sae"]):
        defaults = defaults | {"sae": {}}
    return _override(defaults, changes)


def _architecture(sae: Any, otherwise: Any = "lucid") -> Any:
    return sae.get("architecture", otherwise) if isinstance(sae, dict) else otherwise


def _override(defaults: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(defaults)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _override(merged[key], value)
        else:
            merged[key] = value
    return merged
