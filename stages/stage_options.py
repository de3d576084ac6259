"""The options that a stage starts with; light, so that a command by hand loads only what it needs itself."""

import os
from pathlib import Path

from pipeline.params import Params, load_params


def stage_options(path: Path) -> Params:
    """Load the options in the file `path`; under DVC, all that can be known about them is checked first.

    Which stage DVC runs first depends on what has changed, and what a later one would refuse is not found out after
    hours of encoding and training. By hand, a command only asks for what it needs.

    Raises:
        ConfigError: an option is wrong, or under DVC one of `problems`.
    """
    params = load_params(path)
    if "DVC_STAGE" in os.environ:
        from stages.check import refuse_problems  # noqa: PLC0415 - loads torch

        refuse_problems(params, path)
    return params
