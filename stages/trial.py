"""A training of the study: its recipe, and what its folder says beside the files of every run."""

from pipeline.params import Params, Variant
from pipeline.study.options import Trial

SECONDS_FILE = "seconds.json"
"""How long training, naming and measuring took."""


def recipe_of(trial: Trial, params: Params) -> Variant:
    """How a training of the study is done.

    Raises:
        ConfigError: there is no such variant.
    """
    recipe = params.variant(trial.variant).with_seed(trial.seed).scaled(trial.budget, trial.sparsity)
    return recipe.as_control(trial.control) if trial.control else recipe
