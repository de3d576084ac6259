"""R2 against dense float64 arithmetic."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.reconstruction import ReconstructionMeter, VarianceMeter
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.sides import SIDES, Side, other_side
from pipeline.sparse.codes import SparseCodes

from .axis_world import CHANNELS, Scene, random_scenes


def r2(target: np.ndarray, reconstruction: np.ndarray) -> float:
    target = target.astype(np.float64)
    return 1 - ((target - reconstruction) ** 2).sum() / ((target - target.mean(axis=0)) ** 2).sum()


def test_r2_in_parts_equals_r2_of_the_whole_far_from_zero() -> None:
    generator = np.random.default_rng(0)
    target = (generator.standard_normal((900, 6)) + 1000).astype(np.float32)
    guess = (target + 0.5 * generator.standard_normal((900, 6))).astype(np.float32)
    meter = VarianceMeter(torch.tensor(target[:100].mean(axis=0, dtype=np.float64)))
    for rows in np.array_split(np.arange(900), 7):
        meter.update_target(torch.tensor(target[rows]), torch.tensor([0, len(rows)]))
        meter.update("guess", torch.tensor(target[rows]), torch.tensor(guess[rows]))
    assert meter.r2()["guess"] == pytest.approx(r2(target, guess), rel=1e-6)


def test_predicting_the_mean_scores_zero_and_constant_activations_have_no_score() -> None:
    target = torch.randn(50, 4)
    meter = VarianceMeter(torch.zeros(4, dtype=torch.float64))
    meter.update_target(target, torch.tensor([0, 50]))
    meter.update("mean", target, target.mean(dim=0).expand_as(target))
    assert meter.r2()["mean"] == pytest.approx(0, abs=1e-6)
    constant = VarianceMeter(torch.ones(4, dtype=torch.float64))
    constant.update_target(torch.ones(5, 4), torch.tensor([0, 5]))
    constant.update("mean", torch.ones(5, 4), torch.ones(5, 4))
    assert constant.r2() == {}


def dense_decode(sae: LucidSAE, side: Side, codes: SparseCodes) -> np.ndarray:
    dictionary = sae.dictionary(side)
    scaled = codes.dense(sae.options.latents).double() @ dictionary.decoder.double() + dictionary.decoder_bias
    return (scaled * dictionary.scale).detach().numpy()


def dense_cross(sae: LucidSAE, target: Side, codes: SparseCodes, plans: list[np.ndarray]) -> np.ndarray:
    """Every target token from the plan-weighted mean of the other side's dense codes, pair by pair."""
    dense = codes.dense(sae.options.latents).double().numpy()
    axis = 1 if target == "text" else 0
    lengths = [plan.shape[1 - axis] for plan in plans]
    rows = []
    for plan, part in zip(plans, np.split(dense, np.cumsum(lengths)[:-1]), strict=True):
        weights = plan if target == "vision" else plan.T
        rows.append(weights / weights.sum(axis=1, keepdims=True) @ part)
    dictionary = sae.dictionary(target)
    scaled = np.concatenate(rows) @ dictionary.decoder.detach().double().numpy()
    return (scaled + dictionary.decoder_bias.detach().numpy()) * dictionary.scale.numpy()


@pytest.mark.parametrize("shared_ratio", [0.5, 1.0])
def test_every_path_equals_a_dense_reference(
    build_cache: Callable[..., ActivationCache], shared_ratio: float
) -> None:
    cache = build_cache(random_scenes(12, seed=5), noise=0.3)
    options = LucidOptions(latents=48, shared_ratio=shared_ratio, k_shared=3, k_private=2)
    sae = LucidSAE(options, CHANNELS, CHANNELS, seed=1).eval()
    sae.initialise(cache.statistics)
    meter = ReconstructionMeter(sae, {side: cache.statistics[side].mean for side in SIDES}, "float32")
    with torch.inference_mode():
        for batch in cache.iterate(5):
            meter.update(encode_batch(sae, batch, torch.device("cpu")))
        result = meter.result()
        whole = encode_batch(sae, cache.read_pairs(np.arange(cache.pairs)), torch.device("cpu"))
        lengths = whole.batch.text_offsets.diff().tolist()
        plans = [
            plan[:, :length].double().numpy() for plan, length in zip(whole.plan.plan, lengths, strict=True)
        ]
        full = "full_joint" if shared_ratio < 1 else "full_global"
        for side in SIDES:
            target = whole.activations(side).numpy()
            expected = {
                mode: r2(target, dense_decode(sae, side, codes)) for mode, codes in whole.codes[side].items()
            }
            assert result[side] == pytest.approx(expected, rel=1e-5)
            others = whole.codes[other_side(side)]
            cross = {
                name: r2(target, dense_cross(sae, side, others[mode], plans))
                for name, mode in (("shared", "shared"), ("full", full))
            }
            found = result[f"{other_side(side)}_to_{side}"]
            assert {name: found[name] for name in cross} == pytest.approx(cross, rel=1e-5)
            assert found.get("leak") == (
                pytest.approx(cross["full"] - cross["shared"], abs=1e-6) if shared_ratio < 1 else None
            )


def test_the_joint_code_is_the_models_own(build_cache: Callable[..., ActivationCache]) -> None:
    cache = build_cache([Scene([], ["a sea"])] * 4, noise=1.0)
    options = LucidOptions(latents=40, shared_ratio=0.5, k_shared=3, k_private=2)
    sae = LucidSAE(options, CHANNELS, CHANNELS).eval()
    batch = cache.read_pairs(np.arange(cache.pairs))
    encoded = encode_batch(sae, batch, torch.device("cpu"))
    own = sae.encode("text", batch.text_tokens, "full_joint")
    torch.testing.assert_close(encoded.codes["text"]["full_joint"].dense(40), own.dense(40))
