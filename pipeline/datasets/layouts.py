"""Which layouts a data set's files may have. A new one is a module of its own and a record here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.datasets.coco import CocoDataset, find_annotations
from pipeline.datasets.options import CaptionsPerImage, DatasetOptions, LayoutName
from pipeline.datasets.pairs import PairDataset


class OpenSplit(Protocol):
    """Reads what is known of a split; a DatasetError names file, entry and value that cannot be used."""

    def __call__(
        self, root: Path, split: str, *, captions_per_image: CaptionsPerImage, caption_seed: int
    ) -> PairDataset:
        """Open the split that the files below `root` call `split`; no picture is decoded."""


class DatasetLayout(NamedTuple):
    """How the files of a data set lie.

    Attributes:
        find: looks for the files of a split below a root, reads none, and raises a DatasetError where one is missing.
        open: reads them.
    """

    find: Callable[[Path, str], object]
    open: OpenSplit


LAYOUTS: Mapping[LayoutName, DatasetLayout] = {"coco": DatasetLayout(find_annotations, CocoDataset.open)}


def find_split(options: DatasetOptions, split: str) -> None:
    """Look for the folders and files of the split that the pipeline calls `split`; read none.

    Raises:
        ConfigError: there is no such split.
        DatasetError: one is missing; the message lists what exists.
    """
    LAYOUTS[options.layout].find(options.root, options.split_of_files(split))


def open_split(options: DatasetOptions, split: str) -> PairDataset:
    """Open the split that the pipeline calls `split`.

    Raises:
        ConfigError: there is no such split.
        DatasetError: its files cannot be used.
    """
    return LAYOUTS[options.layout].open(
        options.root,
        options.split_of_files(split),
        captions_per_image=options.captions_per_image,
        caption_seed=options.caption_seed,
    )
