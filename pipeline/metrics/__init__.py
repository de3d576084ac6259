"""How good a trained dictionary is: reconstruction, grounding, degeneracy and concept recovery."""

from pipeline.metrics.evaluation import EvaluateOptions, evaluate

__all__ = ["EvaluateOptions", "evaluate"]
