"""SPARC: both sides choose a pair's latents in training, each alone its own afterwards; either rebuilds both."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.sae.moments import Moments
from pipeline.sae.pairs import Pairs
from pipeline.sae.registry import architecture_options
from pipeline.sae.sides import SIDES, Side, other_side
from pipeline.sae.sparc.global_top_k import global_top_k
from pipeline.sae.sparc.model import SparcSAE
from pipeline.sae.sparc.options import SparcOptions

PAIRS, LATENTS, K = 7, 24, 5
CHANNELS: dict[Side, int] = {"vision": 6, "text": 4}


def build(**changes: Any) -> SparcSAE:
    sae = SparcSAE(
        SparcOptions(latents=LATENTS, k=K, **changes), CHANNELS["vision"], CHANNELS["text"], seed=1
    )
    moments = {
        side: Moments(values.mean(0).numpy(), values.var(0).numpy()) for side, values in rows().items()
    }
    sae.initialise(moments)
    return sae


def rows() -> dict[Side, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        side: 3 + torch.randn(PAIRS, width, generator=generator).double() for side, width in CHANNELS.items()
    }


def pairs() -> Pairs:
    sides = {side: values.float() for side, values in rows().items()}
    return Pairs(sides["vision"][:, None], sides["text"], torch.arange(PAIRS + 1))


def scores(sae: SparcSAE) -> dict[Side, Tensor]:
    """Pre-activations, written out in float64."""
    found: dict[Side, Tensor] = {}
    for side, values in rows().items():
        part = sae.dictionary(side).double()
        centred = values / part.scale - part.decoder_bias
        found[side] = centred @ part.encoder.T + part.encoder_bias
        part.float()
    return found


def largest(ranked: Tensor, by: Tensor) -> Tensor:
    """The codes [pair, latent] of `ranked` at the K largest entries of `by`, one pair after the other."""
    dense = torch.zeros_like(ranked)
    for pair in range(len(by)):
        for latent in sorted(range(LATENTS), key=lambda i: -float(by[pair, i]))[:K]:
            dense[pair, latent] = max(float(ranked[pair, latent]), 0.0)
    return dense


@torch.no_grad()
def test_together_both_sides_have_the_latents_of_their_sum_and_alone_each_has_its_own() -> None:
    sae = build()
    own = scores(sae)
    together = sae._encoded_together({side: values.float() for side, values in rows().items()})
    assert torch.equal(together["vision"].indices, together["text"].indices)
    for side, values in rows().items():
        expected = largest(own[side], own["vision"] + own["text"])
        torch.testing.assert_close(together[side].dense(LATENTS).double(), expected, atol=1e-5, rtol=1e-5)
        alone = sae.encode(side, values.float()).dense(LATENTS).double()
        torch.testing.assert_close(alone, largest(own[side], own[side]), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(alone, expected)


def test_a_silent_side_leaves_the_choice_to_the_other_unless_both_are_silent() -> None:
    generator = torch.Generator().manual_seed(3)
    given: dict[Side, Tensor] = {side: torch.randn(4, LATENTS, generator=generator) for side in SIDES}
    silent: dict[Side, Tensor] = {
        "vision": torch.tensor([False, True, False, True]),
        "text": torch.tensor([False, False, True, True]),
    }
    total = given["vision"] + given["text"]
    chosen_by = torch.stack([total[0], given["text"][1], given["vision"][2], total[3]])
    for side, codes in global_top_k(given, K, silent).items():
        torch.testing.assert_close(codes.dense(LATENTS), largest(given[side], chosen_by))


@torch.no_grad()
def test_errors_are_shares_of_squared_lengths_each_kind_the_mean_of_the_sides() -> None:
    sae, cross = build(cross=0.6), 0.6
    own = scores(sae)
    expected = 0.0
    for side, target in rows().items():
        part = sae.dictionary(side)
        for source, weight in ((side, 0.5), (other_side(side), cross / 2)):
            codes = largest(own[source], own["vision"] + own["text"])
            rebuilt = (codes @ part.decoder.double() + part.decoder_bias.double()) * part.scale.double()
            shares = (rebuilt - target).square().sum(1) / target.square().sum(1)
            expected += weight * float(shares.mean())
    assert float(sae.losses(pairs()).total) == pytest.approx(expected, rel=1e-5)


def test_sides_fall_silent_in_training_only_and_as_often_as_asked() -> None:
    sae = build(side_dropout=0.5)
    drawn = sae._silent(4000)
    assert drawn is not None
    share = torch.stack([drawn[side] for side in SIDES]).double()
    assert (share.mean(1) - 0.5).abs().max() < 0.05
    assert abs(float(share.prod(0).mean()) - 0.25) < 0.05
    assert sae.eval()._silent(4000) is None
    assert build()._silent(4000) is None


def test_sides_that_are_held_apart_are_encoded_alone_and_nothing_crosses() -> None:
    sae = build()
    assert set(sae.losses(pairs()).terms) == {"self_vision", "self_text", "cross_vision", "cross_text"}
    sae.apart = True
    losses = sae.losses(pairs())
    assert set(losses.terms) == {"self_vision", "self_text"}
    losses.total.backward()  # type: ignore[no-untyped-call]
    sae.after_backward()
    sae.after_step()
    for side in SIDES:
        torch.testing.assert_close(sae.directions(side).norm(dim=1), torch.ones(LATENTS))


def test_an_embedding_of_zeros_has_a_finite_error_and_gradient() -> None:
    sae, given = build(), pairs()
    losses = sae.losses(Pairs(torch.zeros_like(given.vision), given.text, given.text_offsets))
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert losses.total.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in sae.parameters())


@pytest.mark.parametrize(
    ("options", "named"),
    [({"k": 30, "latents": 20}, "k = 30"), ({"side_dropout": 1.0}, "side_dropout"), ({"cross": -1}, "cross")],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        architecture_options({"architecture": "sparc", **options})


def test_it_has_no_private_codes() -> None:
    with pytest.raises(ConfigError, match="every latent of sparc is shared"):
        build().encode("vision", rows()["vision"].float(), "private")
