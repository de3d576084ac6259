"""A training of the study: its recipe, and all options that decide what it gives."""

from typing import Any

from pipeline.interpretation.options import InterpretOptions
from pipeline.metrics.options import EvaluateOptions
from pipeline.params import Params, Variant
from pipeline.study.options import StudyOptions, Trial

_DECIDE_NO_FIGURE = {"batch_pairs"}


class TrialOptions(Variant):
    """How a dictionary is built and trained, named and measured."""

    interpret: InterpretOptions
    evaluate: EvaluateOptions

    def decisive(self) -> dict[str, Any]:
        """Plain JSON values of the options that decide the figures, on one kind of machine."""
        return {
            "sae": self.sae.model_dump(mode="json"),
            "train": self.train.decisive(),
            "interpret": self.interpret.model_dump(mode="json", exclude=_DECIDE_NO_FIGURE),
            "evaluate": self.evaluate.model_dump(mode="json", exclude=_DECIDE_NO_FIGURE),
        }


def recipe_of(trial: Trial, params: Params) -> Variant:
    """How a training of the study is done.

    Raises:
        ConfigError: there is no such variant.
    """
    recipe = params.variant(trial.variant).with_seed(trial.seed).scaled(trial.budget, trial.sparsity)
    return recipe.as_control(trial.control) if trial.control else recipe


def options_of(trial: Trial, params: Params, study: StudyOptions) -> TrialOptions:
    """Everything that decides what a training of the study gives; the study measures more than `params` ask for.

    Raises:
        ConfigError: there is no such variant.
    """
    recipe = recipe_of(trial, params)
    more = {"changed_captions": study.changed_captions, "probes": trial.seed in study.probed}
    evaluate = params.evaluate.model_copy(update=more)
    return TrialOptions(sae=recipe.sae, train=recipe.train, interpret=params.interpret, evaluate=evaluate)
