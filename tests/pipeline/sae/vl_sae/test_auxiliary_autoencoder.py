from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError, RunError
from pipeline.sae.vl_sae.auxiliary_autoencoder import (
    AuxiliaryAutoencoder,
    info_nce,
    load_auxiliary_autoencoder,
    save_auxiliary_autoencoder,
    train_auxiliary_autoencoder,
)
from pipeline.sae.vl_sae.options import AuxiliaryAutoencoderOptions, Similarity

QUICK = AuxiliaryAutoencoderOptions(epochs=150, batch_pairs=32, learning_rate=1e-2)


def two_sides(pairs: int, channels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two linear views of one hidden vector, each with an offset of its own."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(pairs, channels, generator=generator)
    maps = torch.randn(2, channels, channels, generator=generator) / channels**0.5
    return hidden @ maps[0] + 1, hidden @ maps[1] - 1


def brute_force(vision: Tensor, text: Tensor, temperature: float, similarity: Similarity) -> float:
    total, pairs = 0.0, len(vision)
    for mine, other in ((vision, text), (text, vision)):
        for i in range(pairs):
            scores = torch.zeros(pairs, dtype=torch.float64)
            for j in range(pairs):
                length = mine[i].norm() * other[j].norm() if similarity == "cosine" else 1
                scores[j] = (mine[i] * other[j]).sum() / length / temperature
            total -= float((scores[i].exp() / scores.exp().sum()).log())
    return total / (2 * pairs)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_info_nce_is_that_of_a_float64_loop(similarity: Similarity, temperature: float) -> None:
    vision, text = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    expected = brute_force(vision.double(), text.double(), temperature, similarity)
    assert float(info_nce(vision, text, temperature, similarity)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_info_nce_has_the_gradient_of_finite_differences(similarity: Similarity) -> None:
    sides = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    vision, text = (side.clone().requires_grad_() for side in sides)
    assert torch.autograd.gradcheck(lambda v, t: info_nce(v, t, 0.5, similarity), (vision, text))


def test_info_nce_of_sides_that_know_nothing_of_each_other_is_the_logarithm_of_the_pairs() -> None:
    loss = info_nce(torch.ones(8, 3), torch.randn(1, 3).expand(8, 3), 0.07)
    assert float(loss) == pytest.approx(torch.tensor(8.0).log().item(), rel=1e-5)


def test_a_zero_row_has_a_finite_loss_and_gradient() -> None:
    vision = torch.zeros(2, 3, requires_grad=True)
    loss = info_nce(vision, torch.randn(2, 3), 0.07)
    (gradient,) = torch.autograd.grad(loss, vision)
    assert loss.isfinite() and gradient.isfinite().all()


def test_the_loss_is_the_sum_of_its_terms() -> None:
    vision, text = two_sides(6, 4)
    autoencoder = AuxiliaryAutoencoder(QUICK, 4).requires_grad_(False)
    losses = autoencoder.losses(vision, text)
    embeddings = [autoencoder.encode("vision", vision), autoencoder.encode("text", text)]
    expected = {
        "contrastive": brute_force(*(one.double() for one in embeddings), 0.07, "cosine"),
        "self_vision": float((autoencoder.decode("vision", embeddings[0]) - vision).square().mean()),
        "self_text": float((autoencoder.decode("text", embeddings[1]) - text).square().mean()),
    }
    assert {name: float(term) for name, term in losses.terms.items()} == pytest.approx(expected, rel=1e-4)
    assert float(losses.total) == pytest.approx(sum(expected.values()), rel=1e-4)


def test_training_aligns_the_sides_and_keeps_what_they_hold() -> None:
    vision, text = two_sides(96, 8)
    before, trained = AuxiliaryAutoencoder(QUICK, 8), train_auxiliary_autoencoder(vision, text, QUICK)

    def matched(autoencoder: AuxiliaryAutoencoder) -> float:
        unit = [
            torch.nn.functional.normalize(autoencoder.encode(side, rows), dim=1)
            for side, rows in (("vision", vision), ("text", text))
        ]
        found = (unit[0] @ unit[1].T).argmax(dim=1)
        return float((found == torch.arange(len(vision))).float().mean())

    assert matched(before) < 0.1 and matched(trained) > 0.9
    error = (trained.decode("text", trained.encode("text", text)) - text).square().mean()
    assert error < 0.05 * text.var(dim=0).mean()


def test_training_is_deterministic_and_its_seed_matters() -> None:
    vision, text = two_sides(40, 4)
    options = AuxiliaryAutoencoderOptions(epochs=2, batch_pairs=16)
    first, again = (train_auxiliary_autoencoder(vision, text, options).state_dict() for _ in range(2))
    other = train_auxiliary_autoencoder(vision, text, options.model_copy(update={"seed": 1})).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoders.text.weight"], other["encoders.text.weight"])


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    autoencoder = AuxiliaryAutoencoder(AuxiliaryAutoencoderOptions(similarity="dot", seed=5), 4)
    path = tmp_path / "new" / "auxiliary.safetensors"
    save_auxiliary_autoencoder(autoencoder, path)
    loaded = load_auxiliary_autoencoder(path)
    for copy in range(8):
        save_auxiliary_autoencoder(loaded, tmp_path / f"{copy}.safetensors")
        assert (tmp_path / f"{copy}.safetensors").read_bytes() == path.read_bytes()
    assert loaded.options == autoencoder.options and loaded.channels == 4
    rows = torch.randn(3, 4)
    assert torch.equal(loaded.encode("vision", rows), autoencoder.encode("vision", rows))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_what_is_no_autoencoder_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file"):
        load_auxiliary_autoencoder(tmp_path / "none.safetensors")
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(RunError, match="not a whole safetensors file"):
        load_auxiliary_autoencoder(path)


def test_activations_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[3, 4\] \(vision\) and \[2, 4\] \(text\)"):
        train_auxiliary_autoencoder(torch.zeros(3, 4), torch.zeros(2, 4), QUICK)
    with pytest.raises(ConfigError, match="at least 2 pairs"):
        train_auxiliary_autoencoder(torch.zeros(1, 4), torch.zeros(1, 4), QUICK)
    with pytest.raises(ConfigError, match="not finite in epoch 0"):
        train_auxiliary_autoencoder(torch.full((4, 4), torch.nan), torch.zeros(4, 4), QUICK)
