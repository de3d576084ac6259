import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache import ShardActivations
from cache.format.quantisation import quantise
from cache.writing.activations import stored_shard

ORDINARY = slice(3, None)


def documented(quantised):
    """What the format's page says int8 tokens are, in float64."""
    scale = quantised.token_scale.astype(np.float64)[..., None]
    mean, std = quantised.channel_mean[0].astype(np.float64), quantised.channel_std[0].astype(np.float64)
    return np.where(scale == 0, 0, quantised.tokens * scale * std + mean)


def decoded(tokens, dtype="int8"):
    """`tokens` [token, channel] as a reader gets them back, float64."""
    one = np.zeros((1, 1), np.float32)
    activations = ShardActivations(tokens[None], one, tokens[:1], np.array([1]), np.array([0]), one)
    (image,) = stored_shard(activations, dtype, "none").tokens("vision").decoded().double().numpy()
    return image


def half_steps(quantised):
    """Half the distance of neighbouring values, [token, channel]."""
    return quantised.token_scale.astype(np.float64)[..., None] * quantised.channel_std.astype(np.float64) / 2


VALUES = st.floats(width=32, min_value=-(2.0**126), max_value=2.0**126) | st.sampled_from([0.0, 1.0, 5.0])
TOKENS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=7), elements=VALUES)


@settings(max_examples=40)
@given(TOKENS)
def test_no_value_is_off_by_more_than_half_a_step(tokens):
    quantised, values = quantise(tokens), tokens.astype(np.float64)
    rounding = 2.0**-21 * (np.abs(values) + np.abs(quantised.channel_mean.astype(np.float64))) + 1e-43
    error = np.abs(documented(quantised) - values)
    assert (error <= half_steps(quantised) * (1 + 2.0**-20) + rounding).all()


@settings(max_examples=40)
@given(TOKENS)
def test_decoding_is_the_documented_arithmetic(tokens):
    found, expected = decoded(tokens), documented(quantise(tokens))
    assert np.isfinite(found).all()
    size = np.abs(quantise(tokens).channel_mean).astype(np.float64) + np.abs(expected)
    assert (np.abs(found - expected) <= 2.0**-21 * size + 1e-43).all()


@settings(max_examples=40)
@given(TOKENS)
def test_a_scale_of_zero_marks_exactly_the_tokens_of_zeros(tokens):
    quantised = quantise(tokens)
    zeros = ~tokens.any(axis=1)
    assert ((quantised.token_scale == 0) == zeros).all()
    assert not decoded(tokens)[zeros].any() and not quantised.tokens[zeros].any()
    assert quantised.tokens.min() >= -127


@settings(max_examples=40)
@given(TOKENS)
def test_channels_are_calibrated_on_the_tokens_that_are_not_zeros(tokens):
    quantised = quantise(tokens)
    used = tokens[tokens.any(axis=1)].astype(np.float64)
    if len(used):
        size = np.abs(used).max(axis=0)
        assert (np.abs(quantised.channel_mean[0] - used.mean(axis=0)) <= 2.0**-23 * size + 1e-44).all()
        assert (np.abs(quantised.channel_std[0] - used.std(axis=0)) <= 2.0**-23 * size + 1e-44).all()
    else:
        assert not quantised.channel_mean.any() and not quantised.channel_std.any()


@pytest.mark.parametrize("constant", [1.0, 1e-30, 1 / 3, 65519.0, 2.0**126])
def test_a_channel_without_variance_keeps_its_value(constant):
    tokens = np.random.default_rng(0).standard_normal((100, 3), np.float32)
    tokens[:, 1] = constant
    assert (decoded(tokens)[:, 1] == np.float32(constant)).all()
    assert np.abs(decoded(tokens) - tokens).max() < 0.02


def test_equal_tokens_are_exact():
    tokens = np.tile(np.array([[0.1, -7e4, 1e30, 0]], np.float32), (50, 1))
    assert (decoded(tokens) == tokens).all()


def test_tokens_next_to_the_mean_are_not_wrapped_around():
    near = np.linspace(1e-8, 1e-4, 400)
    ones = np.ones(1000)
    column = np.concatenate([ones, -ones, near, -near])
    tokens = np.stack([column, -column], axis=1).astype(np.float32)
    quantised = quantise(tokens)
    assert quantised.token_scale.min() == 2.0**-24
    assert (np.abs(documented(quantised) - tokens) <= half_steps(quantised) * (1 + 1e-6)).all()


def test_tokens_of_many_blocks_are_quantised_like_one(monkeypatch):
    tokens = heavy_tailed(500, 8)
    whole = quantise(tokens)
    monkeypatch.setattr("cache.format.quantisation._BLOCK_VALUES", 8 * 7)
    for found, expected in zip(quantise(tokens), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_zeros_between_the_tokens_change_nothing_about_the_others():
    tokens = heavy_tailed(100, 8)
    sparse = np.zeros((300, 8), np.float32)
    sparse[1::3] = tokens
    np.testing.assert_array_equal(decoded(sparse)[1::3], decoded(tokens))


def heavy_tailed(count, channels=64):
    """Activations as transformers have them: few directions, heavy tails, and three channels a hundred times larger."""
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((count, 16)) @ rng.standard_normal((16, channels)) / 4
    tokens = (low_rank + 0.3 * rng.standard_normal((count, channels))) * rng.lognormal(0, 0.5, (count, 1))
    tokens[:, :3] = tokens[:, :3] * 100 + [3000, -800, 0]
    return tokens.astype(np.float32)


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 1e-6), ("bfloat16", 1e-5), ("int8", 2e-4)])
def test_ordinary_channels_keep_their_variance_beside_outliers(dtype, bound):
    tokens = heavy_tailed(5_000)
    error = ((decoded(tokens, dtype) - tokens) ** 2).mean(axis=0)
    unexplained = error / tokens.astype(np.float64).var(axis=0)
    assert 0 < unexplained[ORDINARY].max() <= bound


def test_without_calibration_by_channel_outliers_would_take_the_eight_bits():
    tokens = heavy_tailed(5_000).astype(np.float64)
    scale = np.abs(tokens).max(axis=1, keepdims=True) / 127
    error = ((np.rint(tokens / scale) * scale - tokens) ** 2).mean(axis=0)
    assert np.median((error / tokens.var(axis=0))[ORDINARY]) > 1e-2
