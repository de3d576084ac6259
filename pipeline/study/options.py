"""The options of the study, which stand in `study/params.yaml`: its graph reads the same file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config import Name, Options
from pipeline.training.options import ControlName

Seed = Annotated[int, Field(ge=0)]
Multiple = Annotated[int, Field(ge=1)]

OWN = (1, 1)
"""Budget and sparsity of a recipe as it is."""


class Trial(NamedTuple):
    """One training of the study.

    Attributes:
        variant: the recipe.
        seed: instead of train.seed.
        budget: what the recipe's epochs are multiplied by.
        sparsity: what the recipe's active latents are divided by.
        control: what keeps it from learning, if anything.
    """

    variant: str
    seed: int
    budget: int
    sparsity: int
    control: ControlName | None = None

    @property
    def folder(self) -> Path:
        """Where its run is, below the folder of all runs."""
        setting = self.control or f"budget-{self.budget}-sparsity-{self.sparsity}"
        return Path(self.variant, setting, f"seed-{self.seed}")

    @property
    def file(self) -> Path:
        """Where what it gave is written down, below the folder of all measurements."""
        return self.folder.with_name(f"seed-{self.seed}.json")


class Scale(Options):
    """What the epochs of a recipe are multiplied by, and its active latents divided by."""

    budget: Multiple = Field(1, description="epochs, in multiples of the candidate's own")
    sparsity: Multiple = Field(1, description="active latents: the candidate's own, divided by this")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if (self.budget, self.sparsity) == OWN:
            raise ValueError("is the recipe as it is, which every candidate is trained at; take it out")
        return self


class SameSide(Options):
    """Two trainings of one recipe whose latents are matched, each side with itself: the ceiling of matching."""

    variant: Name = Field(description="a candidate")
    seeds: tuple[Seed, Seed] = Field(description="two of the study's seeds")

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: tuple[int, int]) -> tuple[int, int]:
        if seeds[0] == seeds[1]:
            raise ValueError("a training matches itself; name two seeds")
        return seeds


class StudyOptions(Options):
    """What is trained: every candidate from every seed; some of them at other scales, and controls beside some."""

    candidates: list[Name] = Field(min_length=1, description="the recipes that are compared")
    baseline: Name = Field(description="the candidate that every other is tested against, seed by seed")
    scaled: list[Name] = Field(description="candidates that are trained at other scales, too")
    scales: list[Scale] = Field(description="those other scales")
    controlled: list[Name] = Field(description="candidates of which controls are trained, too")
    controls: list[ControlName] = Field(description="what keeps these from learning")
    same_side: SameSide
    seeds: list[Seed] = Field(min_length=1, description="of initial weights and batch order")
    classify: list[Name] = Field(
        min_length=1, description="candidates whose dictionaries also classify pictures"
    )

    changed_captions: int = Field(ge=0, description="instead of evaluate.changed_captions")
    probed: list[Seed] = Field(
        description="seeds whose trainings are measured with evaluate.probes, which takes half a minute of each"
    )

    @field_validator(
        "candidates", "scaled", "scales", "controlled", "controls", "seeds", "classify", "probed"
    )
    @classmethod
    def _name_each_once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("one of them is there twice; remove it")
        return values

    @property
    def settings(self) -> tuple[tuple[int, int], ...]:
        """Every (budget, sparsity); at the first, the recipes' own, all candidates are trained."""
        return (OWN, *((scale.budget, scale.sparsity) for scale in self.scales))

    def trials(self) -> Iterator[Trial]:
        """Every training: candidates as they are, then at other scales, then controls."""
        for setting in self.settings:
            for variant in self.candidates if setting == OWN else self.scaled:
                yield from (Trial(variant, seed, *setting) for seed in self.seeds)
        for variant in self.controlled:
            for control in self.controls:
                yield from (Trial(variant, seed, *OWN, control) for seed in self.seeds)
