"""LUCID against the plain dense float64 reference: every loss and every gradient, for every variant."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from dense_reference import Pair, Reference, Side
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.sae.crossing import cross_reconstruct, transport_plan
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.lucid.terms import transport_cost
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES
from pipeline.transport.coupling import Coupling
from pipeline.transport.plan import TransportPlan, token_places

VISION_CHANNELS, TEXT_CHANNELS, PATCHES = 6, 5, 4
SMALL = {"latents": 24, "shared_ratio": 0.5, "k_shared": 3, "k_private": 2, "lambda_shared": 0.1}
UNGUIDED = {"global_context": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "ot_only": {"shared_ratio": 1.0, "alignment": "transport_cost", "guidance": UNGUIDED},
    "share_k": {"alignment": "transport_cost", "guidance": UNGUIDED},
    "share_k_gsl": {"guidance": UNGUIDED},
    "lucid": {},
    "shared_only": {"shared_ratio": 1.0},
    "separate": {"shared_ratio": 1.0, "alignment": "none", "gamma": 0.0},
    "lucid unrolled": {"plan_gradient": "unrolled", "lambda_private": 0.2},
    "transport cost, guided, unrolled": {"plan_gradient": "unrolled", "alignment": "transport_cost"},
    "signed codes of raw activations": {"relu": False, "subtract_decoder_bias": False},
    "no weights on alignment and cross": {"beta": 0.0, "gamma": 0.0, "alignment": "transport_cost"},
}


def build(seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> LucidSAE:
    """A small model whose biases, norms and scales are all unlike their initial values."""
    sae = LucidSAE(LucidOptions(**{**SMALL, **changes}), VISION_CHANNELS, TEXT_CHANNELS, seed).to(dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in sae.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * noise.to(dtype))
        sae.dictionary("vision").scale.fill_(2.0)
        sae.dictionary("text").scale.fill_(0.5)
    return sae


def make_pairs(lengths: list[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    vision = torch.randn(len(lengths), PATCHES, VISION_CHANNELS, generator=generator, dtype=torch.float64)
    text = torch.randn(sum(lengths), TEXT_CHANNELS, generator=generator, dtype=torch.float64)
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    return Pairs((2 * vision).to(dtype), (0.5 * text).to(dtype), offsets)


def reference(sae: LucidSAE, dead: dict[str, Tensor] | None = None) -> tuple[Reference, dict[str, Tensor]]:
    """The oracle with the same weights in float64, and its leaves by the model's parameter names."""
    leaves = {
        name: parameter.detach().double().requires_grad_() for name, parameter in sae.named_parameters()
    }
    sides = [
        Side(**{field: leaves[f"dictionaries.{side}.{field}"] for field in Side.__dataclass_fields__})
        for side in SIDES
    ]
    return Reference(sae.options, *sides, dead or {}), leaves


def reference_pairs(sae: LucidSAE, pairs: Any) -> list[Pair]:
    vision = pairs.vision.double() / sae.dictionary("vision").scale.double()
    text = pairs.text.double() / sae.dictionary("text").scale.double()
    bounds = pairs.text_offsets.tolist()
    pairs = []
    for n, (start, stop) in enumerate(pairwise(bounds)):
        pairs.append(Pair(vision[n], text[start:stop]))
    return pairs


def assert_agrees(sae: LucidSAE, pairs: Any, tolerance: float) -> None:
    """Terms, total and every gradient, each relative to its largest entry."""
    dead = {side: sae.activity[side].dead() for side in SIDES}
    oracle, leaves = reference(sae, dead)
    terms = oracle.terms(reference_pairs(sae, pairs))
    expected = oracle.total(terms)
    losses = sae.losses(pairs)
    assert set(losses.terms) == set(terms)
    for name, term in terms.items():
        near = pytest.approx(term.item(), rel=tolerance, abs=tolerance / 100)  # terms are of order 1
        assert losses.terms[name].item() == near, name
    assert losses.total.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance / 100)
    losses.total.backward()
    expected.backward()
    for name, parameter in sae.named_parameters():
        gradient = leaves[name].grad
        if gradient is None:
            gradient = torch.zeros_like(leaves[name])
        error = (parameter.grad.double() - gradient).abs().max()
        assert error <= tolerance * gradient.abs().max().clamp_min(1e-6), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_are_the_references(variant: str, dtype: torch.dtype, tolerance: float) -> None:
    assert_agrees(
        build(dtype=dtype, **VARIANTS[variant]).eval(), make_pairs([3, 0, 1, 5], dtype=dtype), tolerance
    )


@st.composite
def budgets(draw: st.DrawFn) -> dict[str, Any]:
    """Few latents, and any Top-K budgets that they allow: one latent per token, all of them, or between."""
    shared_ratio, latents = draw(st.sampled_from([0.25, 0.5, 1.0])), draw(st.integers(2, 9))
    shared = max(1, round(latents * shared_ratio))
    k_shared = draw(st.integers(1, shared if shared < latents else latents - 1))
    k_private = draw(st.integers(1, latents - (shared if shared < latents else k_shared)))
    return {
        "latents": latents,
        "shared_ratio": shared_ratio,
        "k_shared": k_shared,
        "k_private": k_private,
        "auxiliary": {"k": draw(st.integers(1, 12))},
    }


@given(
    variant=st.sampled_from(sorted(VARIANTS)),
    budget=budgets(),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3).filter(any),
    dead=st.booleans(),
    dtype=st.sampled_from([(torch.float64, 1e-7), (torch.float32, 1e-3)]),
)
@settings(max_examples=80)
@example(  # more tokens than latents, one of them per token
    variant="lucid",
    budget={"latents": 8, "k_shared": 1},
    lengths=[9, 8],
    dead=False,
    dtype=(torch.float64, 1e-9),
)
@example(  # a single token, whose error has no variance
    variant="lucid", budget={"latents": 8}, lengths=[1], dead=True, dtype=(torch.float64, 1e-9)
)
def test_losses_and_gradients_are_the_references_for_every_budget_and_pairs_size(
    variant: str, budget: dict[str, Any], lengths: list[int], dead: bool, dtype: tuple[torch.dtype, float]
) -> None:
    sae = build(dtype=dtype[0], **{**VARIANTS[variant], **budget}).eval()
    if dead:
        for side in SIDES:
            sae.activity[side].pairs_since_fired.fill_(10_000)
    assert_agrees(sae, make_pairs(lengths, dtype=dtype[0]), dtype[1])


@pytest.mark.parametrize("variant", [*VARIANTS, "auxiliary of living latents"])
def test_rows_that_no_caption_has_and_larger_extents_change_nothing(variant: str) -> None:
    changes = VARIANTS.get(variant, {"relu": False, "auxiliary": {"k": 40}})
    pairs, found, wanted = make_pairs([3, 0, 1, 5]), build(**changes), build(**changes)
    for sae in (found, wanted):
        for side in SIDES:
            sae.activity[side].pairs_since_fired[::3] = 10_000
    padded = replace(pairs, text=torch.cat([pairs.text, torch.ones(4, 5)]), longest_caption=8)
    for side, most_dead in zip(SIDES, (20, 24), strict=True):
        found.activity[side].most_dead = most_dead
    losses, expected = found.losses(padded), wanted.losses(pairs)
    assert {"auxiliary_vision", "auxiliary_text"} <= set(losses.terms)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)
    losses.total.backward()
    expected.total.backward()
    for (name, parameter), twin in zip(found.named_parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, rtol=1e-9, atol=1e-12, msg=name)
    for side in SIDES:
        assert torch.equal(found.activity[side].pairs_since_fired, wanted.activity[side].pairs_since_fired)


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any), seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_losses_and_gradients_are_the_references_for_any_ragged_pairs(lengths: list[int], seed: int) -> None:
    assert_agrees(build(seed % 7, plan_gradient="unrolled").eval(), make_pairs(lengths, seed), 1e-8)


@pytest.mark.parametrize("variant", ["lucid unrolled", "share_k", "shared_only"])
def test_tokens_and_patches_of_zero_code_are_harmless(variant: str) -> None:
    sae = build(**VARIANTS[variant]).eval()
    pairs = make_pairs([3, 2])
    with torch.no_grad():
        for side in SIDES:  # at the decoder's bias the pre-activations are the biases: all negative
            sae.dictionary(side).encoder_bias.fill_(-0.05)
        pairs.vision[0, 1] = sae.dictionary("vision").decoder_bias * 2.0
        pairs.vision[1] = sae.dictionary("vision").decoder_bias * 2.0  # a whole image: all weights zero
        pairs.text[1] = sae.dictionary("text").decoder_bias * 0.5
    assert not sae.encode("vision", pairs.vision[1]).values.any()
    assert_agrees(sae, pairs, 1e-9)


def test_a_pairs_of_empty_captions_trains_the_vision_side_alone() -> None:
    sae = build()
    losses = sae.losses(make_pairs([0, 0]))
    losses.total.backward()
    assert losses.total > 0
    assert float(losses.terms["alignment"]) == float(losses.terms["cross_vision"]) == 0
    assert all(parameter.grad.isfinite().all() for parameter in sae.parameters())


def test_dead_latents_are_trained_as_the_reference_says() -> None:
    sae = build(auxiliary={"dead_after_pairs": 5, "k": 4}).eval()
    sae.activity["vision"].pairs_since_fired[[2, 3, 7, 15, 16, 20]] = 5  # more than k
    sae.activity["text"].pairs_since_fired[[1, 22]] = 9  # fewer
    sae.activity["text"].pairs_since_fired[8] = 4  # not yet dead
    assert sae.activity["text"].dead().nonzero().flatten().tolist() == [1, 22]
    assert sae.activity["vision"].dead().nonzero().flatten().tolist() == [2, 3, 7, 15, 16, 20]
    assert_agrees(sae, make_pairs([3, 2, 4]), 1e-9)


def test_only_training_advances_the_clock_of_dead_latents() -> None:
    sae, pairs = build(), make_pairs([3, 2])
    fired = {side: sae.encode(side, pairs.rows(side)) for side in SIDES}
    sae.eval().losses(pairs)
    assert all(not sae.activity[side].pairs_since_fired.any() for side in SIDES)
    sae.train().losses(pairs)
    sae.losses(pairs)
    for side in SIDES:
        active = fired[side].dense(24).any(dim=0)
        assert sae.activity[side].pairs_since_fired.tolist() == (~active * 4).tolist()


@pytest.mark.parametrize("side", SIDES)
def test_scaling_the_activations_scales_what_is_decoded_and_nothing_else(side: str) -> None:
    statistics = {"vision": _moments(VISION_CHANNELS, 1.0), "text": _moments(TEXT_CHANNELS, 1.0)}
    thousandfold = {"vision": _moments(VISION_CHANNELS, 1000.0), "text": _moments(TEXT_CHANNELS, 1000.0)}
    pairs = make_pairs([3, 2])
    scaled = Pairs(pairs.vision * 1000, pairs.text * 1000, pairs.text_offsets)
    sae, other = (LucidSAE(LucidOptions(**SMALL), VISION_CHANNELS, TEXT_CHANNELS).double() for _ in range(2))
    sae.initialise(statistics)
    other.initialise(thousandfold)
    torch.testing.assert_close(sae.losses(pairs).terms, other.losses(scaled).terms)
    tokens = pairs.rows(side)
    codes, same = sae.encode(side, tokens), other.encode(side, tokens * 1000)
    torch.testing.assert_close(codes.values, same.values)
    torch.testing.assert_close(sae.decode(side, codes) * 1000, other.decode(side, same))


def _moments(channels: int, scale: float) -> SimpleNamespace:
    return SimpleNamespace(
        mean=scale * np.linspace(-1, 2, channels), variance=scale**2 * np.linspace(0.5, 3, channels)
    )


def test_initialise_predicts_the_mean_for_a_zero_code_and_counts_it_as_an_error_of_one() -> None:
    sae = LucidSAE(LucidOptions(**SMALL), VISION_CHANNELS, TEXT_CHANNELS)
    moments = {"vision": _moments(VISION_CHANNELS, 7.0), "text": _moments(TEXT_CHANNELS, 0.1)}
    sae.initialise(moments)
    codes = sae.encode("vision", torch.from_numpy(moments["vision"].mean).float()[None])
    assert codes.values.abs().max() < 1e-6
    decoded = sae.decode("vision", codes)[0].detach().double().numpy()
    np.testing.assert_allclose(decoded, moments["vision"].mean, rtol=1e-6)
    scaled_variance = moments["vision"].variance / float(sae.dictionary("vision").scale) ** 2
    assert scaled_variance.mean() == pytest.approx(1)


def test_a_new_model_has_unit_directions_and_an_encoder_that_is_a_copy_of_them() -> None:
    sae = LucidSAE(LucidOptions(**SMALL), VISION_CHANNELS, TEXT_CHANNELS, seed=3)
    for side in SIDES:
        dictionary = sae.dictionary(side)
        torch.testing.assert_close(dictionary.decoder.norm(dim=1), torch.ones(24))
        assert torch.equal(dictionary.encoder, dictionary.decoder)
        assert dictionary.encoder.data_ptr() != dictionary.decoder.data_ptr()
    again = LucidSAE(LucidOptions(**SMALL), VISION_CHANNELS, TEXT_CHANNELS, seed=3)
    assert torch.equal(sae.dictionary("text").decoder, again.dictionary("text").decoder)
    other = LucidSAE(LucidOptions(**SMALL), VISION_CHANNELS, TEXT_CHANNELS, seed=4)
    assert not torch.equal(sae.dictionary("text").decoder, other.dictionary("text").decoder)


def test_projected_gradients_do_not_change_norms_and_normalised_directions_have_none_but_one() -> None:
    sae, pairs = build(), make_pairs([3, 2])
    sae.after_step()
    sae.losses(pairs).total.backward()
    sae.after_backward()
    for side in SIDES:
        decoder = sae.dictionary(side).decoder
        torch.testing.assert_close(decoder.norm(dim=1), torch.ones(24, dtype=torch.float64))
        along = (decoder.grad * decoder).sum(dim=1)
        torch.testing.assert_close(along, torch.zeros_like(along))
        assert decoder.grad.abs().max() > 1e-4


def test_without_unit_norm_weights_and_gradients_are_left_alone() -> None:
    sae, pairs = build(unit_norm_decoder=False), make_pairs([3, 2])
    sae.losses(pairs).total.backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in sae.parameters()]
    sae.after_backward()
    sae.after_step()
    for parameter, (value, gradient) in zip(sae.parameters(), before, strict=True):
        assert torch.equal(parameter, value) and torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("side", SIDES)
def test_modes_keep_the_budgets_and_parts_they_name(side: str) -> None:
    sae, pairs = build(relu=False), make_pairs([3, 6])
    tokens = pairs.rows(side)
    joint = sae.encode(side, tokens, "full_joint").dense(24)
    assert torch.equal(sae.encode(side, tokens, "shared").dense(24)[:, :12], joint[:, :12])
    assert torch.equal(sae.encode(side, tokens, "private").dense(24)[:, 12:], joint[:, 12:])
    assert not sae.encode(side, tokens, "shared").dense(24)[:, 12:].any()
    assert not sae.encode(side, tokens, "private").dense(24)[:, :12].any()
    assert torch.equal((joint[:, :12] != 0).sum(1), torch.full((len(tokens),), 3))
    assert torch.equal((joint[:, 12:] != 0).sum(1), torch.full((len(tokens),), 2))
    oracle, _ = reference(sae)
    own = oracle.vision if side == "vision" else oracle.text
    pre = oracle.pre_activations(own, tokens / sae.dictionary(side).scale)
    torch.testing.assert_close(
        sae.encode(side, tokens, "full_global").dense(24), oracle.top_k(pre, 5).detach()
    )


def test_without_private_latents_all_modes_are_one_and_private_is_refused() -> None:
    sae, pairs = build(shared_ratio=1.0), make_pairs([3, 6])
    joint, *others = [sae.encode("text", pairs.text, m) for m in ("full_joint", "full_global", "shared")]
    assert all(torch.equal(joint.dense(24), other.dense(24)) for other in others)
    with pytest.raises(ConfigError, match=r"shared_ratio = 1\.0"):
        sae.encode("text", pairs.text, "private")


@pytest.mark.parametrize("mode", ["full_joint", "shared"])
def test_plan_and_cross_reconstruction_are_the_references_in_raw_units(mode: str) -> None:
    sae, pairs = build(), make_pairs([3, 5, 1])
    vision = sae.encode("vision", pairs.vision.flatten(0, 1), mode)
    text = sae.encode("text", pairs.text, mode)
    plan = transport_plan(sae, vision, text, pairs.text_offsets, PATCHES)
    to_vision = cross_reconstruct(sae, "vision", text, plan).view(3, PATCHES, -1)
    to_text = cross_reconstruct(sae, "text", vision, plan)
    oracle, _ = reference(sae)
    z_a, z_b = vision.dense(24).view(3, PATCHES, 24), text.dense(24)
    for n, (start, stop) in enumerate([(0, 3), (3, 8), (8, 9)]):
        expected = oracle.plan(z_a[n, :, :12], z_b[start:stop, :12])
        torch.testing.assert_close(plan.plan[n, :, : stop - start], expected)
        assert plan.valid[n].tolist() == [j < stop - start for j in range(5)]
        patches, tokens = oracle.cross(expected, z_a[n], z_b[start:stop])
        torch.testing.assert_close(to_vision[n], patches * 2.0)
        torch.testing.assert_close(to_text[start:stop], tokens * 0.5)


def test_bfloat16_autocast_keeps_the_losses_within_a_hundredth() -> None:
    sae, pairs = build(dtype=torch.float32).eval(), make_pairs([3, 5, 1], dtype=torch.float32)
    expected = sae.losses(pairs)
    with torch.autocast("cpu", torch.bfloat16):
        losses = sae.losses(pairs)
    losses.total.backward()
    for name, term in expected.terms.items():
        assert float(losses.terms[name]) == pytest.approx(float(term), rel=1e-2), name


def test_a_few_steps_of_training_lower_the_loss() -> None:
    sae, pairs = build(), make_pairs([3, 5, 1, 4])
    history = []
    for _ in range(20):
        sae.zero_grad()
        losses = sae.losses(pairs)
        losses.total.backward()
        sae.after_backward()
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.sub_(0.3 * parameter.grad)
        sae.after_step()
        history.append(losses.total.item())
    assert history[-1] < 0.7 * history[0], history


def test_transport_cost_is_the_mean_over_captioned_pairs() -> None:
    plan = torch.tensor([[[0.25, 0.75]], [[1.0, 0.0]], [[0.0, 0.0]]])
    cost = torch.tensor([[[0.4, 0.8]], [[0.1, 1.0]], [[1.0, 1.0]]])
    tokens = token_places(torch.tensor([0, 2, 3, 3]), 3)
    coupling = Coupling(TransportPlan(plan, tokens), cost)
    assert transport_cost(coupling).item() == pytest.approx((0.25 * 0.4 + 0.75 * 0.8 + 0.1) / 2)
