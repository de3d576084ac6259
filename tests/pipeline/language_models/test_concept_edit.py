import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.language_models.concept_edit import ConceptEdit
from pipeline.language_models.options import ConceptEditOptions
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.vl_sae.auxiliary_autoencoder import AuxiliaryAutoencoder
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import AuxiliaryAutoencoderOptions, VLSAEOptions

AUTOENCODER = AuxiliaryAutoencoder(AuxiliaryAutoencoderOptions(), 6)
SAE = VLSAE(VLSAEOptions(latents=20, k=5), 6, 6)
VISION, TEXT = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2))


def codes_by_hand(side: Side, states: Tensor) -> Tensor:
    """`2 - distance` of unit vectors, the 5 largest of 20, float64."""
    layer = AUTOENCODER.encoders[side]
    embedding = states.double() @ layer.weight.double().T + layer.bias.double()
    weight = SAE.encoder(side).weight.double()
    unit = embedding / embedding.norm(dim=1, keepdim=True)
    activation = 2 - torch.cdist(unit, weight / weight.norm(dim=1, keepdim=True))
    smallest = activation.sort(dim=1, descending=True).values[:, 4:5]
    return torch.where(activation >= smallest, activation, 0)


@pytest.mark.parametrize(("strength", "share"), [(0.8, 0.9), (1.0, 0.0), (0.3, 1.0)])
def test_the_shift_is_that_of_dense_float64(strength: float, share: float) -> None:
    options = ConceptEditOptions(strength=strength, vision_share=share)
    mixed = (1 - share) * codes_by_hand("text", TEXT) + share * codes_by_hand("vision", VISION)
    decoder, layer = SAE.decoder("text"), AUTOENCODER.decoders["text"]
    embedding = mixed @ decoder.directions.double() + decoder.bias.double()
    reconstruction = embedding @ layer.weight.double().T + layer.bias.double()
    expected = (1 - strength) * TEXT.double() + strength * reconstruction - TEXT.double()
    shift = ConceptEdit(AUTOENCODER, SAE, options)(VISION, TEXT)
    torch.testing.assert_close(shift.double(), expected, atol=1e-5, rtol=1e-5)


def test_no_strength_is_no_shift() -> None:
    assert not ConceptEdit(AUTOENCODER, SAE, ConceptEditOptions(strength=0))(VISION, TEXT).any()


@pytest.mark.parametrize("side", SIDES)
def test_each_side_matters_only_with_its_share(side: Side) -> None:
    edit = ConceptEdit(AUTOENCODER, SAE, ConceptEditOptions(strength=1, vision_share=float(side == "text")))
    before = edit(VISION, TEXT)
    changed = edit(-VISION, TEXT) if side == "vision" else edit(VISION, 2 * TEXT) + TEXT
    torch.testing.assert_close(before, changed, atol=1e-6, rtol=1e-5)


def test_an_sae_of_other_embeddings_is_refused() -> None:
    other = VLSAE(VLSAEOptions(latents=20, k=5), 8, 8)
    with pytest.raises(
        ConfigError, match=r"embeddings are 6 wide, and the SAE reads 8 \(vision\) and 8 \(text\)"
    ):
        ConceptEdit(AUTOENCODER, other, ConceptEditOptions())
