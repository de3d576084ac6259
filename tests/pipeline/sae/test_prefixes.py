import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import LatentOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.registry import build_sae
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.options import TrainOptions
from pipeline.training.step import TrainingStep

CHANNELS = 8
LUCID = {"latents": 40, "shared_ratio": 0.5, "k_shared": 4, "k_private": 3}
ONE_PART = {"latents": 40, "shared_ratio": 1.0, "k_shared": 4, "k_private": 3}
VL_SAE = {"latents": 24, "k": 5, "encoder": "affine", "inputs": "tokens"}
RECIPES: dict[str, tuple[type[LatentOptions], dict[str, object]]] = {
    "lucid": (LucidOptions, LUCID),
    "one part": (LucidOptions, ONE_PART),
    "batch": (LucidOptions, LUCID | {"activation": "batch_top_k"}),
    "jump": (LucidOptions, LUCID | {"activation": "jump_relu"}),
    "vl_sae": (VLSAEOptions, VL_SAE),
}


def pairs_of(seed: int) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    vision = torch.randn(3, 2, CHANNELS, generator=generator, dtype=torch.float64)
    text = torch.randn(7, CHANNELS, generator=generator, dtype=torch.float64)
    return Pairs(vision, text, torch.tensor([0, 2, 2, 6]))  # the last row is of no caption


def dense_errors(sae: SparseAutoencoder, side: Side, pairs: Pairs, widths: list[int]) -> list[Tensor]:
    """The mean squared error of the first so many latents of the dictionary's code, scaled units, densely."""
    decoder = sae.decoder(side)
    scale = torch.ones(()) if decoder.scale is None else decoder.scale
    rows = pairs.rows(side)[: 6 if side == "text" else None]
    codes = sae.encode(side, rows).dense(sae.options.latents)
    rebuilt = [codes[:, :width] @ decoder.directions[:width] + decoder.bias for width in widths]
    return [(one - rows / scale).square().mean() for one in rebuilt]


@settings(max_examples=6, deadline=None)
@given(
    recipe=st.sampled_from(list(RECIPES)),
    shares=st.lists(st.floats(0.01, 1.0), max_size=4),
    seed=st.integers(0, 2**31),
)
def test_self_reconstruction_is_the_mean_over_the_prefixes_and_the_whole(
    recipe: str, shares: list[float], seed: int
) -> None:
    kind, values = RECIPES[recipe]
    sae = build_sae(kind(**values, prefixes=shares), CHANNELS, CHANNELS, seed % 7).double().eval()
    pairs, latents = pairs_of(seed), sae.options.latents
    losses = sae.losses(pairs)
    widths = sorted({max(1, round(share * sae.shared_width)) for share in shares} | {latents})
    for side in SIDES:
        expected = torch.stack(dense_errors(sae, side, pairs, widths)).mean()
        torch.testing.assert_close(losses.terms[f"self_{side}"], expected, rtol=1e-12, atol=0)


def test_while_the_sides_learn_apart_no_prefix_is_asked_for() -> None:
    sae = build_sae(LucidOptions(**LUCID, prefixes=[0.25]), CHANNELS, CHANNELS).double()
    plain = build_sae(LucidOptions(**LUCID), CHANNELS, CHANNELS).double()
    sae.apart = plain.apart = True
    assert torch.equal(sae.losses(pairs_of(0)).total, plain.losses(pairs_of(0)).total)


def concepts(seed: int) -> Pairs:
    """Pairs whose patches and tokens are sums of concepts, the first of them far more frequent than the last."""
    generator = torch.Generator().manual_seed(seed)
    frequency = 0.5 / torch.arange(1, 25)
    directions = torch.randn(24, CHANNELS, generator=torch.Generator().manual_seed(0))
    present = torch.rand(256, 24, generator=generator) < frequency
    rows = present.float() @ directions
    return Pairs(rows.view(64, 4, CHANNELS), rows, torch.arange(65) * 4)


def trained(recipe: str, shares: list[float]) -> SparseAutoencoder:
    kind, values = RECIPES[recipe]
    alone = {"alignment": "none", "gamma": 0.0} if kind is LucidOptions else {}
    sae = build_sae(kind(**values, **alone, prefixes=shares), CHANNELS, CHANNELS)
    step = TrainingStep(sae, TrainOptions())
    step.set_learning_rate(1e-2)
    for seed in range(80):
        step(concepts(seed))
    return sae.eval()


@pytest.mark.parametrize("recipe", ["lucid", "vl_sae"])
def test_a_trained_prefix_reconstructs_better_than_as_many_latents_drawn_at_random(recipe: str) -> None:
    nested, generator = trained(recipe, [0.25, 0.5]), torch.Generator().manual_seed(0)
    width = nested.prefix_widths[0]
    prefix = errors_of(nested, torch.arange(width))
    drawn = torch.stack(
        [
            errors_of(nested, torch.randperm(nested.shared_width, generator=generator)[:width])
            for _ in range(20)
        ]
    )
    assert (prefix < drawn.min(dim=0).values).all()


@torch.no_grad()
def errors_of(sae: SparseAutoencoder, latents: Tensor) -> Tensor:
    """The errors of both sides on new pairs, with these shared latents alone."""
    pairs, errors = concepts(seed=1000), []
    for side in SIDES:
        rows = pairs.rows(side)
        codes = sae.encode(side, rows)
        kept = codes._replace(values=codes.values * torch.isin(codes.indices, latents))
        errors.append((sae.decode(side, kept) - rows).square().mean())
    return torch.stack(errors)


def test_prefixes_are_counted_in_shared_latents_once_each() -> None:
    options = LucidOptions(**LUCID, prefixes=[1.0, 0.001, 0.5, 0.49])
    assert options.prefix_widths(20) == (1, 10, 20)
    assert LucidOptions(**ONE_PART, prefixes=[1.0, 0.5]).prefix_widths(40) == (20,)
    with pytest.raises(ValidationError, match="prefixes"):
        LucidOptions(**LUCID, prefixes=[0.0])
