"""Training dictionaries from a cache: options, one step, its recording on a GPU, and the loop."""

from pipeline.training.loop import Trainee, refuse_different_streams, resolve_device, train
from pipeline.training.options import TrainOptions

__all__ = ["TrainOptions", "Trainee", "refuse_different_streams", "resolve_device", "train"]
