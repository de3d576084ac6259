"""VL-SAE, its ablations and baselines, against a plain dense reference; and as an SAE of pairs like any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cache import PairBatch
from pipeline.errors import ConfigError
from pipeline.sae.crossing import cross_reconstruct, transport_plan
from pipeline.sae.reader import READERS
from pipeline.sae.registry import build_sae
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.sparse.codes import SparseCodes

CHANNELS, LATENTS, K, PATCHES = 6, 20, 4, 3
LENGTHS = (2, 5, 0, 1)
VARIANTS: dict[str, dict[str, Any]] = {
    "vl_sae": {},
    "vl_sae_affine": {"encoder": "affine"},
    "vl_sae_cosine": {"encoder": "cosine"},
    "vl_sae_one_decoder": {"shared_decoder": True},
    "sae_d": {"encoder": "affine", "shared_encoder": False},
    "sae_s": {"encoder": "affine", "shared_decoder": True},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def build(variant: str = "vl_sae", text_channels: int = CHANNELS, **changes: Any) -> VLSAE:
    options = VLSAEOptions(**{"latents": LATENTS, "k": K, **VARIANTS[variant], **changes})
    sae = VLSAE(options, CHANNELS, text_channels, seed=3).double()
    assert isinstance(sae, VLSAE)
    return sae


def make_batch(text_channels: int = CHANNELS) -> PairBatch:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    pairs = len(LENGTHS)
    return PairBatch(
        pair=torch.arange(pairs),
        vision_tokens=random(pairs, PATCHES, CHANNELS),
        text_tokens=random(sum(LENGTHS), text_channels),
        text_offsets=torch.tensor([0, *LENGTHS]).cumsum(0),
        token_ids=torch.arange(sum(LENGTHS)),
        vision_pooled=random(pairs, CHANNELS),
        text_pooled=random(pairs, CHANNELS),
    )


class Reference:
    """The whole model, dense, one formula after another; gradients are autograd's."""

    def __init__(self, sae: VLSAE) -> None:
        self.options = sae.options
        self.weights = {
            name: value.detach().clone().requires_grad_() for name, value in sae.named_parameters()
        }

    def codes(self, side: str, x: Tensor) -> Tensor:
        owner = "both" if self.options.shared_encoder else side
        w = self.weights[f"encoders.{owner}.weight"]
        if self.options.encoder == "affine":
            scores = torch.relu(x @ w.T + self.weights[f"encoders.{owner}.bias"])
        else:
            x, w = x / x.norm(dim=1, keepdim=True), w / w.norm(dim=1, keepdim=True)
            scores = (x @ w.T).relu()
            if self.options.encoder == "distance":
                scores = 2 - (x[:, None] - w[None]).norm(dim=2)
        kept = torch.zeros_like(scores)
        for row, values in enumerate(scores.tolist()):
            kept[row, sorted(range(len(values)), key=lambda j: (-values[j], j))[: self.options.k]] = 1
        return scores * kept

    def decode(self, side: str, codes: Tensor) -> Tensor:
        owner = "both" if self.options.shared_decoder else side
        return codes @ self.weights[f"decoders.{owner}.weight"] + self.weights[f"decoders.{owner}.bias"]

    def loss(self, vision: Tensor, text: Tensor) -> Tensor:
        errors = [
            (self.decode(side, self.codes(side, x)) - x).square().mean()
            for side, x in zip(SIDES, (vision, text), strict=True)
        ]
        return errors[0] + errors[1]


@every_variant
@pytest.mark.parametrize("inputs", ["pooled", "tokens"])
@pytest.mark.parametrize(("latents", "k"), [(LATENTS, K), (1, 1), (5, 1), (5, 5), (16, 15)])
def test_losses_and_gradients_are_those_of_the_dense_reference(
    variant: str, inputs: str, latents: int, k: int
) -> None:
    sae, batch = build(variant, inputs=inputs, latents=latents, k=k), make_batch()
    reference = Reference(sae)
    if inputs == "pooled":
        expected = reference.loss(batch.vision_pooled, batch.text_pooled)
    else:
        expected = reference.loss(batch.vision_tokens.flatten(0, 1), batch.text_tokens)
    losses = sae.losses(sae.reader.pairs(batch))
    torch.testing.assert_close(losses.total, expected)
    assert losses.terms.keys() == {"self_vision", "self_text"}
    torch.testing.assert_close(sum(losses.terms.values()), expected.detach())
    losses.total.backward()
    expected.backward()
    for name, parameter in sae.named_parameters():
        torch.testing.assert_close(parameter.grad, reference.weights[name].grad, msg=name)


def test_rows_that_no_caption_has_change_nothing() -> None:
    batch, found, wanted = make_batch(), build(inputs="tokens"), build(inputs="tokens")
    more = torch.ones(3, CHANNELS, dtype=torch.float64)
    padded = batch._replace(text_tokens=torch.cat([batch.text_tokens, more]))
    losses, expected = found.losses(found.reader.pairs(padded)), wanted.losses(wanted.reader.pairs(batch))
    torch.testing.assert_close(losses, expected)
    losses.total.backward()
    expected.total.backward()
    for parameter, twin in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad)


@every_variant
def test_codes_name_the_k_strongest_latents_and_are_never_negative(variant: str) -> None:
    sae, x = build(variant), make_batch().text_pooled
    codes = sae.encode("text", x)
    assert codes.values.shape == (len(x), K) and codes.values.min() >= 0
    torch.testing.assert_close(codes.dense(LATENTS), Reference(sae).codes("text", x).detach())


@every_variant
def test_what_the_sides_share_is_one_set_of_weights(variant: str) -> None:
    sae = build(variant)
    assert (sae.encoder("vision") is sae.encoder("text")) == sae.options.shared_encoder
    assert (sae.decoder("vision").directions is sae.decoder("text").directions) == sae.options.shared_decoder
    x = make_batch().vision_pooled
    if sae.options.shared_encoder:
        torch.testing.assert_close(sae.encode("vision", x).values, sae.encode("text", x).values)


def test_a_pair_of_embeddings_is_joined_with_mass_one_and_decoded_by_the_target() -> None:
    sae, batch = build(), make_batch()
    pairs = sae.reader.pairs(batch)
    vision, text = sae.encode("vision", batch.vision_pooled), sae.encode("text", batch.text_pooled)
    plan = transport_plan(sae, vision, text, pairs.text_offsets, pairs.patches)
    torch.testing.assert_close(plan.plan, torch.ones(len(LENGTHS), 1, 1, dtype=torch.float64))
    torch.testing.assert_close(cross_reconstruct(sae, "text", vision, plan), sae.decode("text", vision))
    torch.testing.assert_close(cross_reconstruct(sae, "vision", text, plan), sae.decode("vision", text))


def test_patches_and_tokens_are_crossed_through_a_plan_of_uniform_marginals() -> None:
    sae, batch = build(inputs="tokens"), make_batch()
    vision = sae.encode("vision", batch.vision_tokens.flatten(0, 1))
    text = sae.encode("text", batch.text_tokens)
    plan = transport_plan(sae, vision, text, batch.text_offsets, PATCHES).plan
    for pair, length in enumerate(LENGTHS):
        mass = plan[pair].sum(dim=0)
        expected = torch.zeros_like(mass)
        expected[:length] = 1 / max(length, 1)
        torch.testing.assert_close(mass, expected)
    whole = transport_plan(sae, vision, text, batch.text_offsets, PATCHES)
    weights = whole.plan[1][:, :5] / whole.plan[1][:, :5].sum(dim=0)
    mixed = weights.T @ vision.dense(LATENTS)[PATCHES : 2 * PATCHES]
    expected = mixed @ sae.decoder("text").directions + sae.decoder("text").bias
    torch.testing.assert_close(cross_reconstruct(sae, "text", vision, whole)[2:7], expected)


def test_pooled_inputs_are_images_of_one_patch_and_captions_of_one_token() -> None:
    batch = make_batch()
    pairs = READERS["pooled"].pairs(batch)
    assert torch.equal(pairs.vision[:, 0], batch.vision_pooled)
    assert torch.equal(pairs.text, batch.text_pooled)
    assert pairs.text_offsets.tolist() == [0, 1, 2, 3, 4]


def test_training_leaves_norms_and_gradients_alone_and_statistics_decide_nothing() -> None:
    sae, batch = build(), make_batch()
    sae.initialise({})
    sae.losses(sae.reader.pairs(batch)).total.backward()
    before = [(value.clone(), value.grad.clone()) for value in sae.parameters()]
    sae.after_backward()
    sae.after_step()
    for (value, gradient), parameter in zip(before, sae.parameters(), strict=True):
        assert torch.equal(value, parameter) and torch.equal(gradient, parameter.grad)


def test_weights_depend_on_the_seed_alone() -> None:
    options = VLSAEOptions(latents=LATENTS, k=K)
    first, again, other = (VLSAE(options, CHANNELS, CHANNELS, seed) for seed in (1, 1, 2))
    for name, value in first.named_parameters():
        assert torch.equal(value, again.get_parameter(name))
        assert not torch.equal(value, other.get_parameter(name))


@every_variant
def test_a_saved_model_loads_as_it_was(variant: str, tmp_path: Path) -> None:
    sae = build(variant).float()
    save_sae(sae, tmp_path)
    loaded = load_sae(tmp_path)
    assert isinstance(loaded, VLSAE) and loaded.options == sae.options and not loaded.training
    assert loaded.reader.inputs == "pooled"
    state = loaded.state_dict()
    assert state.keys() == sae.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in sae.state_dict().items())


def test_there_are_no_private_codes() -> None:
    sae = build()
    codes = {mode: sae.encode("text", make_batch().text_pooled, mode) for mode in ("full_global", "shared")}
    assert isinstance(codes["shared"], SparseCodes)
    assert torch.equal(codes["shared"].values, codes["full_global"].values)
    with pytest.raises(ConfigError, match="no private codes"):
        sae.encode("text", make_batch().text_pooled, "private")


@pytest.mark.parametrize("changes", [{}, {"shared_encoder": False, "shared_decoder": True}])
def test_shared_weights_for_two_widths_are_refused(changes: dict[str, bool]) -> None:
    key = "shared_decoder" if changes else "shared_encoder"
    with pytest.raises(ConfigError, match=f"sae.{key}: vision .* 6 wide .* 5, .*inputs: pooled, is 'tokens'"):
        build(inputs="tokens", text_channels=CHANNELS - 1, **changes)


def test_separate_autoencoders_may_differ_in_width() -> None:
    sae, batch = build("sae_d", inputs="tokens", text_channels=CHANNELS - 1), make_batch(CHANNELS - 1)
    torch.testing.assert_close(
        sae.losses(sae.reader.pairs(batch)).total,
        Reference(sae).loss(batch.vision_tokens.flatten(0, 1), batch.text_tokens),
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 4097}, "k = 4097 is more than the 4096 latents; lower k or raise latents"),
        ({"k": 0}, "sae.k: .*greater than 0"),
        ({"encoder": "dot"}, "sae.encoder: .*'distance', 'cosine' or 'affine'.*'dot'"),
        ({"inputs": "patches"}, "sae.inputs: .*'tokens' or 'pooled'.*'patches'"),
        ({"k_shared": 4}, "sae.k_shared: no such option"),
    ],
)
def test_impossible_options_are_refused_by_key_value_and_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_sae({"architecture": "vl_sae", **values}, CHANNELS, CHANNELS)
