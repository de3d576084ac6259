"""Which layouts a data set's files may have. A new one is a module of its own and a record here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.coco import CocoDataset, find_annotations
from pipeline.datasets.options import CaptionsPerImage, DatasetOptions, LayoutName
from pipeline.datasets.pairs import PairDataset


class DatasetLayout(NamedTuple):
    """How the files of a data set lie.

    Attributes:
        find: looks for the files of a split below a root, reads none, and raises a DatasetError where one is missing.
        open: reads what is known of a split, called as `CocoDataset.open`; no picture is decoded.
    """

    find: Callable[[Path, str], object]
    open: Callable[[Path, str, CaptionsPerImage, int], PairDataset]


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
    files_split = options.split_of_files(split)
    layout = LAYOUTS[options.layout]
    return layout.open(options.root, files_split, options.captions_per_image, options.caption_seed)
