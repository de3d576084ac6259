"""The file of the study's options, which its graph reads, too."""

from pathlib import Path

from pipeline.options_file import read_options_file
from pipeline.study.options import StudyOptions


def study_options(path: Path) -> StudyOptions:
    """Load the options of the study in the file `path`.

    Raises:
        ConfigError: the file is missing or not plain YAML, or a key is misspelt, missing or out of range.
    """
    return StudyOptions.parse(read_options_file(path), "")
