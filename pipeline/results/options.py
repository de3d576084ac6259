"""The options of the study."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from pipeline.config import Name, Options
from pipeline.errors import ConfigError

Seed = Annotated[int, Field(ge=0)]


class StudyOptions(Options):
    """Which recipes are repeated, and with which further seeds (`train.seed` is always one of them)."""

    variants: list[Name] = Field(min_length=1, description="the recipes that are repeated")
    seeds: list[Seed] = Field(min_length=1, description="of the repetitions; train.seed is one anyway")
    classify: list[Name] = Field(default=[], description="variants whose dictionaries also classify pictures")

    @field_validator("variants", "seeds", "classify")
    @classmethod
    def _name_each_once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("one of them is there twice; remove it")
        return values

    def refuse_seed_twice(self, first: int) -> None:
        """Check that `first`, which is `train.seed`, is none of the further seeds.

        Raises:
            ConfigError: it is; naming it.
        """
        if first in self.seeds:
            raise ConfigError(
                f"study.seeds: {first} is train.seed, which is one of the seeds anyway; take another, for one training "
                "twice is no spread"
            )
