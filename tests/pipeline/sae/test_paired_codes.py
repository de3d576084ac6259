"""What aligns the two codes of a pair: cosine, group sparsity, and a mask in common; each term by its definition."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.sae.code_cosine import code_cosine_distance
from pipeline.sae.group_sparsity import group_sparsity
from pipeline.sae.moments import Moments
from pipeline.sae.pair_mask import PairMask
from pipeline.sae.pairs import Pairs
from pipeline.sae.registry import architecture_options
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

PAIRS, CHANNELS, LATENTS, K = 6, 5, 16, 4


def codes(seed: int) -> Tensor:
    return torch.randn(PAIRS, LATENTS, generator=torch.Generator().manual_seed(seed)).relu()


def embeddings() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    vision = torch.randn(PAIRS, 1, CHANNELS, generator=generator)
    return Pairs(vision, torch.randn(PAIRS, CHANNELS, generator=generator), torch.arange(PAIRS + 1))


def build(**changes: Any) -> VLSAE:
    recipe = {"latents": LATENTS, "k": K, "encoder": "affine", "shared_decoder": True, **changes}
    return VLSAE(VLSAEOptions(**recipe), CHANNELS, CHANNELS, seed=1)


def test_cosine_distance_is_the_mean_over_captioned_pairs_and_indifferent_to_length() -> None:
    vision, text, captioned = codes(0), codes(1), torch.tensor([1, 1, 0, 1, 1, 0]).bool()
    cosines = torch.stack([v @ t / (v.norm() * t.norm()) for v, t in zip(vision, text, strict=True)])
    expected = (1 - cosines)[captioned].mean()
    found = code_cosine_distance(3 * vision, text, captioned, spare_strongest=False)
    torch.testing.assert_close(found, expected)


def test_the_strongest_latent_of_either_side_may_serve_one_side_alone() -> None:
    vision = torch.tensor([[9.0, 1.0, 2.0, 0.0]])
    text = torch.tensor([[0.0, 1.0, 2.0, 7.0]])
    captioned = torch.ones(1, dtype=torch.bool)
    assert code_cosine_distance(vision, text, captioned, spare_strongest=False) > 0.9
    assert code_cosine_distance(vision, text, captioned, spare_strongest=True).abs() < 1e-6


def test_group_sparsity_is_the_l21_norm_and_prefers_common_latents() -> None:
    vision, text, captioned = codes(0), codes(1), torch.tensor([1, 1, 0, 1, 1, 0]).bool()
    expected = torch.stack([vision, text]).norm(dim=0).sum(dim=1)[captioned].mean()
    torch.testing.assert_close(group_sparsity(vision, text, captioned), expected)
    alike, apart = (
        group_sparsity(vision, vision, captioned),
        group_sparsity(vision, vision.roll(1, 1), captioned),
    )
    assert alike < apart


@pytest.mark.parametrize("spare_strongest", [False, True])
def test_codes_of_zeros_have_finite_gradients(spare_strongest: bool) -> None:
    vision, text = torch.zeros(2, PAIRS, LATENTS).requires_grad_()
    captioned = torch.ones(PAIRS, dtype=torch.bool)
    loss = code_cosine_distance(vision, text, captioned, spare_strongest=spare_strongest)
    (gradient,) = torch.autograd.grad(loss + group_sparsity(vision, text, captioned), vision)
    assert gradient.isfinite().all()


def test_the_mask_leaves_out_latents_as_often_as_asked_and_differs_by_step_pair_latent_and_seed() -> None:
    mask = PairMask(0.2, 512, seed=3)
    first, second = mask.draw(256), mask.draw(256)
    for drawn in (first, second):
        share = drawn.double()
        assert abs(share.mean() - 0.2) < 0.005
        assert (share.mean(0) - 0.2).abs().max() < 0.15
        assert (share.mean(1) - 0.2).abs().max() < 0.1
    independent = [second, first.roll(1, 0), first.roll(1, 1), PairMask(0.2, 512, seed=4).draw(256)]
    for other in independent:
        assert abs((first & other).double().mean() - 0.04) < 0.005


def test_a_mask_that_resumes_draws_what_an_uninterrupted_one_draws() -> None:
    straight, resumed = PairMask(0.2, LATENTS, seed=3), PairMask(0.2, LATENTS, seed=3)
    straight.draw(PAIRS)
    resumed.load_state_dict(straight.state_dict())
    assert torch.equal(straight.draw(PAIRS), resumed.draw(PAIRS))


@pytest.mark.parametrize("encoder", ["affine", "cosine", "distance"])
def test_latents_that_are_left_out_never_fire_and_the_others_are_ranked_as_if_alone(encoder: str) -> None:
    sae, rows = build(encoder=encoder), embeddings().rows("vision")
    left_out = torch.rand(PAIRS, LATENTS, generator=torch.Generator().manual_seed(2)) < 0.5
    everything = sae.encoder("vision").encode(rows, LATENTS).dense(LATENTS)
    best = everything.masked_fill(left_out, -1).topk(K, dim=1)
    expected = torch.zeros_like(everything).scatter(1, best.indices, best.values.relu())
    torch.testing.assert_close(sae.encoder("vision").encode(rows, K, left_out).dense(LATENTS), expected)
    none = torch.ones_like(left_out)
    assert not sae.encoder("vision").encode(rows, K, none).values.any()


def test_the_two_members_of_a_pair_have_one_mask_and_only_in_training() -> None:
    sae, pairs = build(shared_mask=0.5), embeddings()
    alike = Pairs(pairs.text[:, None], pairs.text, pairs.text_offsets)
    seen: dict[str, Tensor] = {}
    encode = sae._candidates

    def watched(side: Any, rows: Tensor, left_out: Tensor | None) -> Any:
        found = encode(side, rows, left_out)
        seen[side] = found.dense(LATENTS)
        return found

    sae._candidates = watched  # type: ignore[method-assign]
    sae.losses(alike)
    masked = seen["vision"]
    assert torch.equal(masked, seen["text"])
    sae.eval().losses(alike)
    assert not torch.equal(masked, seen["vision"])
    assert int(sae.shared_mask.step) == 1


def test_terms_are_weighed_and_left_out_while_the_sides_are_held_apart() -> None:
    weights = {"cosine": 0.5, "group_sparsity": 0.25}
    sae, pairs = build(paired_codes=weights), embeddings()
    losses = sae.losses(pairs)
    plain = build().losses(pairs)
    expected = plain.total + sum(weights[name] * losses.terms[name] for name in weights)
    torch.testing.assert_close(losses.total, expected)
    assert set(plain.terms) == {"self_vision", "self_text"}
    sae.apart = True
    assert set(sae.losses(pairs).terms) == set(plain.terms)


@torch.no_grad()
def test_group_sparsity_is_no_smaller_where_the_decoder_makes_up_for_small_codes() -> None:
    sae, other = (build(paired_codes={"group_sparsity": 1.0}) for _ in range(2))
    for parameter in other.encoders.parameters():
        parameter.div_(8)
    other.decoders["both"].weight.mul_(8)
    terms, others = (each.losses(embeddings()).terms for each in (sae, other))
    torch.testing.assert_close(others, terms)
    rows = {side: sae.encode(side, embeddings().rows(side)).dense(LATENTS) for side in SIDES}
    moved = torch.stack(list(rows.values())) * sae.directions("vision").norm(dim=1)
    torch.testing.assert_close(terms["group_sparsity"], moved.norm(dim=0).sum(dim=1).mean())


def test_each_side_has_a_bias_that_begins_at_its_mean_and_is_put_back() -> None:
    sae, pairs = build(side_bias=True), embeddings()
    means = {side: pairs.rows(side).double().mean(0).numpy() for side in SIDES}
    sae.initialise({side: Moments(means[side], means[side] ** 0) for side in SIDES})
    shared = sae.decoders["both"]
    for side in SIDES:
        mean = torch.tensor(means[side]).float()
        torch.testing.assert_close(sae.biases[side].detach(), mean)
        torch.testing.assert_close(sae.decoder(side).bias, shared.bias + mean)
        plain = sae.encoder(side).encode(pairs.rows(side) - mean, K)
        torch.testing.assert_close(sae.encode(side, pairs.rows(side)).values, plain.values)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"paired_codes": {"spare_strongest": True}}, "spare_strongest"),
        ({"paired_codes": {"cosine": -1.0}}, "cosine"),
        ({"shared_mask": 1.0}, "shared_mask"),
        ({"side_bias": True, "centre": 0.5}, "side_bias"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        architecture_options({"architecture": "vl_sae", **options})
