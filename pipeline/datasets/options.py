"""The options of a data set."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.config import Name, Options
from pipeline.errors import ConfigError

LayoutName = Literal["coco"]
CaptionsPerImage = Literal["one", "all"]


class DatasetOptions(Options):
    """Which data set to encode, and how its folders serve as splits."""

    layout: LayoutName = Field(
        default="coco", description="how its files lie; coco: SPLIT/*.jpg and annotations/captions_SPLIT.json"
    )
    root: Path = Field(description="its folder")
    splits: dict[Name, str] = Field(
        min_length=1,
        description="split as the pipeline calls it -> split as the files call it (val: val2017)",
    )
    captions_per_image: CaptionsPerImage = Field(
        default="one",
        description="one: the caption that caption_seed and the image id choose; all: each is a pair",
    )
    caption_seed: int = Field(default=0, ge=0, description="seeds the choice of the one caption")

    def split_of_files(self, split: str) -> str:
        """Give the name in the data set's own files of the split that the pipeline calls `split`.

        Raises:
            ConfigError: there is no such split.
        """
        if split not in self.splits:
            known = ", ".join(sorted(self.splits))
            raise ConfigError(f"dataset.splits: no split {split!r}; the splits are {known}")
        return self.splits[split]
