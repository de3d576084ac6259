"""What VL-SAE's decoding edit is made of, learned from a decoder's states of captioned pictures."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cache import ActivationCache
from pipeline.datasets.pictures import read_upright
from pipeline.language_models.decoder import VisionLanguageDecoder, pooled_states
from pipeline.language_models.examples import Example
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.state_cache import write_state_cache
from pipeline.progress import ProgressBar
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.saving import save_sae
from pipeline.sae.vl_sae.auxiliary_autoencoder import (
    AuxiliaryAutoencoder,
    save_auxiliary_autoencoder,
    train_auxiliary_autoencoder,
)
from pipeline.training.fit import Training, fit
from pipeline.training.loop import resolve_device

_STATES, _NEW_STATES = "states.zarr", "states.zarr.partial"


class LearnedEdit(NamedTuple):
    """The auxiliary autoencoder of a decoder's states, and a VL-SAE of its embeddings; both on the decoder's device."""

    autoencoder: AuxiliaryAutoencoder
    sae: SparseAutoencoder

    def save(self, run: Path) -> None:
        """Write both into `run`; the states that they were learned from, there already, take the old ones' place.

        Raises:
            RunError: a file cannot be written.
        """
        save_auxiliary_autoencoder(self.autoencoder, run / "auxiliary.safetensors")
        save_sae(self.sae, run)
        shutil.rmtree(run / _STATES, ignore_errors=True)
        (run / _NEW_STATES).rename(run / _STATES)


def learn_edit(
    decoder: VisionLanguageDecoder,
    options: HallucinationOptions,
    examples: Sequence[Example],
    run: Path,
    bar: ProgressBar,
) -> LearnedEdit:
    """Read the states of the examples, each with its first caption, and learn from them.

    Args:
        decoder: the model.
        options: which states, and how the autoencoder and the SAE are trained.
        examples: captioned pictures that can be decoded.
        run: folder that gets the cache of the states.
        bar: shows how far it is.

    Raises:
        BackboneError: the model has no such layer.
        CacheError: the states are not finite, or cannot be written.
    """
    captions = [example.captions[0] for example in examples]
    with bar("read states", "pairs") as advance:
        states = pooled_states(
            decoder,
            [partial(read_upright, example.file) for example in examples],
            captions,
            options.states.layer,
            options.states.batch_size,
            advance,
        )
    device = decoder.model.device
    with bar("train the auxiliary autoencoder", "epochs") as advance:
        autoencoder = train_auxiliary_autoencoder(
            states.vision.to(device), states.text.to(device), options.autoencoder, advance
        ).cpu()
    shutil.rmtree(run / _NEW_STATES, ignore_errors=True)  # of an interrupted run
    cache = write_state_cache(
        run / _NEW_STATES,
        [example.file.name for example in examples],
        captions,
        states,
        autoencoder,
        options.states.model_dump(mode="json") | options.autoencoder.model_dump(mode="json"),
        {"pictures": examples[0].file.parent.as_posix()},
    )
    sae = _train_sae(cache, options, bar)
    return LearnedEdit(autoencoder.to(device), sae.to(device).eval())


def _train_sae(cache: ActivationCache, options: HallucinationOptions, bar: ProgressBar) -> SparseAutoencoder:
    """VL-SAE on the pooled embeddings of `cache`, as every other variant is trained."""
    resolve_device(options.train.device, "hallucination.train.device")
    with bar("train vl_sae", "steps") as advance:
        return fit(cache, {"vl_sae": Training(options.sae, options.train)}, advance).saes["vl_sae"]
