"""A trained run together with what it is measured on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cache import ActivationCache
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import RunError
from pipeline.runs.config import refuse_other_backbone, training_identity, training_of
from pipeline.runs.files import writing_run
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.saving import load_sae
from stages.paths import MEASURED_SPLIT, TRAINING_SPLIT, cache_path


class TrainedRun(NamedTuple):
    """A dictionary, the backbone whose activations it explains, and activations that training did not see."""

    sae: SparseAutoencoder
    backbone: Backbone
    validation: ActivationCache


@contextmanager
def open_run(run: Path, options: BackboneOptions) -> Iterator[TrainedRun]:
    """Load what the folder `run` holds, the backbone, and the validation cache; no other process writes the run then.

    Raises:
        RunError: the run is not trained, is damaged, was trained on activations of another backbone, or is being
            written by another process.
        BackboneError: the backbone cannot be loaded.
        CacheError: the validation cache is missing, damaged, or was written by another backbone.
    """
    if not run.is_dir():
        raise RunError(f"{run}: no such folder; train this variant first (`concord train`)")
    with writing_run(run):
        sae, backbone = load_sae(run), load_backbone(options)
        refuse_other_backbone(run, backbone.identity, "that of the options (`backbone`)")
        yield TrainedRun(
            sae, backbone, ActivationCache.open(cache_path(MEASURED_SPLIT), backbone=backbone.identity)
        )


def training_cache(run: Path) -> ActivationCache | None:
    """Open the training cache, if it is there and is what the folder `run` was trained on.

    Raises:
        RunError: the run's configuration cannot be read, or does not say.
        CacheError: the cache is damaged.
    """
    if not cache_path(TRAINING_SPLIT).exists():
        return None
    cache = ActivationCache.open(cache_path(TRAINING_SPLIT))
    return cache if training_identity({}, cache)["cache"] == training_of(run)["cache"] else None
