from pathlib import Path

import pytest
import torch

from cache import PairLoader
from pipeline.errors import BackboneError
from pipeline.language_models.decoder import MeanStates
from pipeline.language_models.state_cache import embedded, write_state_cache
from pipeline.sae.vl_sae.auxiliary_autoencoder import AuxiliaryAutoencoder, train_auxiliary_autoencoder
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import AuxiliaryAutoencoderOptions, VLSAEOptions
from pipeline.training.loop import Trainee, train
from pipeline.training.options import TrainOptions

PAIRS, CHANNELS = 12, 6
STATES = MeanStates(*torch.randn(2, PAIRS, CHANNELS, generator=torch.Generator().manual_seed(0)))
FILES, TEXTS = [f"{row}.jpg" for row in range(PAIRS)], [f"caption {row}" for row in range(PAIRS)]
AUXILIARY = AuxiliaryAutoencoderOptions(epochs=3, batch_pairs=6)
BACKBONE, DATASET = {"model": "tiny", "layer": 1}, {"name": "example"}


def test_embeddings_are_pooled_and_states_are_tokens(tmp_path: Path) -> None:
    autoencoder = AuxiliaryAutoencoder(AUXILIARY, CHANNELS).requires_grad_(False)
    cache = write_state_cache(tmp_path / "a.zarr", FILES, TEXTS, STATES, autoencoder, BACKBONE, DATASET)
    batch = next(iter(PairLoader(cache, PAIRS, seed=0).batches(0)))
    expected = embedded(autoencoder, STATES)
    assert torch.equal(batch.vision_tokens[:, 0], STATES.vision[batch.pair])
    assert torch.equal(batch.text_tokens, STATES.text[batch.pair])
    assert torch.equal(batch.vision_pooled, expected.vision[batch.pair])
    assert torch.equal(batch.text_pooled, expected.text[batch.pair])
    assert cache.manifest.backbone == BACKBONE


def test_without_an_autoencoder_the_states_are_pooled(tmp_path: Path) -> None:
    cache = write_state_cache(tmp_path / "a.zarr", FILES, TEXTS, STATES, None, BACKBONE, DATASET)
    batch = next(iter(PairLoader(cache, PAIRS, seed=0).batches(0)))
    assert torch.equal(batch.text_pooled, STATES.text[batch.pair])


def test_the_autoencoder_and_then_vl_sae_train_from_such_caches(tmp_path: Path) -> None:
    autoencoder = train_auxiliary_autoencoder(STATES.vision, STATES.text, AUXILIARY)
    cache = write_state_cache(tmp_path / "a.zarr", FILES, TEXTS, STATES, autoencoder, BACKBONE, DATASET)
    sae, losses = VLSAE(VLSAEOptions(latents=16, k=4), CHANNELS, CHANNELS), []
    options = TrainOptions(epochs=40, batch_pairs=6, learning_rate=1e-2, record_every=1)
    trainee = Trainee(sae, options, tmp_path / "checkpoint.safetensors", {}, losses.append)
    train([trainee], PairLoader(cache, 6, seed=0), lambda done, total: None)
    assert losses[-1]["self_text"] < 0.5 * losses[0]["self_text"]


@pytest.mark.parametrize(("files", "texts"), [(12, 11), (11, 12), (11, 11)])
def test_parts_that_do_not_pair_up_are_refused(tmp_path: Path, files: int, texts: int) -> None:
    with pytest.raises(BackboneError, match=f"{files} files, {texts} texts, 12 image states"):
        write_state_cache(tmp_path / "a.zarr", FILES[:files], TEXTS[:texts], STATES, None, BACKBONE, DATASET)
    assert not (tmp_path / "a.zarr").exists()
