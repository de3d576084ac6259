"""Dictionaries from their options to trained weights, all from one stream of a cache's batches."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cache import ActivationCache, DerangedCache, PairLoader
from pipeline.errors import ConfigError
from pipeline.matching.match import join_sides, match_sides, refuse_too_few_pairs
from pipeline.matching.readout import fit_image_level
from pipeline.progress import Advance
from pipeline.runs.checkpoint import CHECKPOINT_FILE, LossRecord
from pipeline.runs.config import training_identity
from pipeline.runs.files import create_folder, writing_run
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.initial import initial_sae
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.saving import save_sae
from pipeline.training.loop import Trainee, refuse_different_streams, resolve_device, train
from pipeline.training.options import TrainOptions


class Training(NamedTuple):
    """One dictionary to train.

    Attributes:
        sae: how it is built.
        train: how it is trained.
        checkpoint: file that holds its state until it is saved; an interrupted training goes on from it. None: no file.
        record: receives every record of its losses, with their step.
    """

    sae: ArchitectureOptions
    train: TrainOptions
    checkpoint: Path | None = None
    record: Callable[[LossRecord], None] = lambda _: None

    def identity(self, cache: ActivationCache) -> dict[str, Any]:
        """Everything that decides the trained weights, as plain JSON."""
        return {"sae": self.sae.model_dump(mode="json"), **self.origin(cache)}

    def origin(self, cache: ActivationCache) -> dict[str, Any]:
        """What a saved dictionary says of its training, its own options apart; see `training_identity`."""
        return training_identity(self.train.decisive(), cache)


class Fit(NamedTuple):
    """Trained dictionaries and how long that took.

    Attributes:
        saes: on the device of their training, by name.
        seconds: of training.
        waited: seconds of these in which no batch was there.
        placement: where the activations lay; what "auto" came to.
    """

    saes: dict[str, SparseAutoencoder]
    seconds: float
    waited: float
    placement: str


def fit_run(cache: ActivationCache, training: Training, run: Path, advance: Advance) -> SparseAutoencoder:
    """Train a dictionary and save it in the folder of a run; meanwhile its checkpoint is there, to go on from.

    Raises:
        ConfigError, CacheError: as `fit`.
        RunError: as `fit`; or another training was interrupted in this folder, or a process writes it.
    """
    create_folder(run)
    with writing_run(run):
        checkpoint = run / CHECKPOINT_FILE
        sae = fit(cache, {run.name: training._replace(checkpoint=checkpoint)}, advance).saes[run.name]
        save_sae(sae, run, training.origin(cache))
        checkpoint.unlink(missing_ok=True)  # untrained dictionaries have none
    return sae


def refuse_unfit(trainings: Mapping[str, Training], cache: ActivationCache) -> None:
    """Check that these dictionaries, by name, can train here and on one stream of batches of this cache.

    Raises:
        ConfigError: they need different batches, or larger ones than there are pairs; or a training ends before its
            sides would be matched.
        RunError: their device does not exist here; or there are too few pairs to match latents by.
    """
    refuse_different_streams({name: training.train for name, training in trainings.items()})
    options = next(iter(trainings.values())).train
    resolve_device(options.device)
    if options.batch_pairs > cache.pairs:
        raise ConfigError(
            f"train.batch_pairs: cannot draw batches of {options.batch_pairs} pairs from the {cache.pairs} of {cache}; "
            "lower it, or encode more"
        )
    for training in trainings.values():
        if matching := training.sae.matching:
            if problem := matching.problem(training.train.epochs):
                raise ConfigError(problem)
            refuse_too_few_pairs(cache, training.sae.latents)


def fit(
    cache: ActivationCache,
    trainings: Mapping[str, Training],
    advance: Advance = lambda done, total: None,
) -> Fit:
    """Build, initialise and train dictionaries; each becomes, bit for bit, what it becomes alone.

    Args:
        cache: what they are trained on.
        trainings: by name.
        advance: receives (steps done, steps in all) after every step.

    Raises:
        ConfigError: they need different batches, or larger ones than there are pairs.
        CacheError: the cache is damaged.
        RunError: the device does not exist here, training diverged, or a checkpoint cannot be read or written.
    """
    refuse_unfit(trainings, cache)
    options = next(iter(trainings.values())).train
    device = resolve_device(options.device)
    if options.pairs == "deranged":
        cache = DerangedCache(cache, options.seed)
    loader = PairLoader(cache, options.batch_pairs, options.seed, options.placement, device)
    saes, trainees = {}, []
    for name, training in trainings.items():
        sae = initial_sae(training.sae, cache, training.train.seed)
        saes[name] = sae.to(device)
        match = partial(_match, saes[name], cache, options.batch_pairs)
        if training.sae.matching and training.sae.matching.separate_epochs == 0:
            match()
        trainees.append(
            Trainee(
                sae, training.train, training.checkpoint, training.identity(cache), training.record, match
            )
        )
    started = time.perf_counter()
    waited = train(trainees, loader, advance)
    for sae in saes.values():
        sae.fold_whitening()
        fit_image_level(sae, cache, options.batch_pairs)
    return Fit(saes, time.perf_counter() - started, waited, loader.placement)


def _match(sae: SparseAutoencoder, cache: ActivationCache, batch_pairs: int) -> None:
    join_sides(sae, match_sides(sae, cache, batch_pairs))
