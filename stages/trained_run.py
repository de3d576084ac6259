"""A trained run together with what it is measured on."""

from pathlib import Path
from typing import NamedTuple

from cache import ActivationCache
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.registry import load_sae
from stages.paths import cache_path


class TrainedRun(NamedTuple):
    """A dictionary, the backbone whose activations it explains, and activations that training did not see."""

    sae: SparseAutoencoder
    backbone: Backbone
    validation: ActivationCache


def open_run(run: Path, options: BackboneOptions) -> TrainedRun:
    """Load what the folder `run` holds, the backbone, and the validation cache.

    Raises:
        RunError: the run is not trained.
        BackboneError: the backbone cannot be loaded.
        CacheError: the validation cache is missing, damaged, or was written by another backbone.
    """
    sae, backbone = load_sae(run), load_backbone(options)
    return TrainedRun(sae, backbone, ActivationCache.open(cache_path("val"), backbone=backbone.identity))
