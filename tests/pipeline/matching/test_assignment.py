"""One assignment of two sides' latents, by correlation."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.matching.assignment import assign
from pipeline.matching.coactivation import CoActivation

GENERATOR = np.random.default_rng(0)


def tied(latents: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Correlations in quarters, of which many are equal, and which latents of either side fired."""
    quarters = arrays(np.float64, (latents, latents), elements=st.integers(-4, 4).map(lambda n: n / 4))
    fired = arrays(np.bool_, latents)
    return st.tuples(quarters, fired, fired)


def test_correlations_are_those_of_all_pairs_at_once() -> None:
    vision, text = GENERATOR.random((50, 4)), GENERATOR.random((50, 6))
    vision[:, 1] = 0.7
    moments = CoActivation(4, 6, torch.device("cpu"))
    for start in range(0, 50, 8):
        parts = (torch.tensor(side[start : start + 8], dtype=torch.float32) for side in (vision, text))
        moments.update(*parts)
    found = moments.correlation()
    expected = np.corrcoef(vision[:, [0, 2, 3]].T, text.T)[:3, 3:]
    np.testing.assert_allclose(found[[0, 2, 3]], expected, atol=1e-6)
    assert not found[1].any()


def test_latents_that_never_vary_correlate_with_nothing_whatever_their_sums_round_to() -> None:
    pairs = 6_000
    constant = np.tile(np.linspace(0.1, 0.9, 16), (pairs, 1))
    moments = CoActivation(17, 17, torch.device("cpu"))
    vision, text = (np.hstack([GENERATOR.random((pairs, 1)), constant]) for _ in range(2))
    for start in range(0, pairs, 64):
        parts = (torch.tensor(side[start : start + 64], dtype=torch.float32) for side in (vision, text))
        moments.update(*parts)
    found = moments.correlation()
    assert found[0, 0] != 0
    assert not found[1:].any() and not found[:, 1:].any()


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_correlates_more(seed: int) -> None:
    correlation = np.random.default_rng(seed).uniform(-1, 1, (5, 5))
    everything = np.ones(5, dtype=bool)
    found = assign(correlation, everything, everything)
    best = max(correlation[range(5), order].sum() for order in permutations(range(5)))
    assert found.confidence.sum() == pytest.approx(best, abs=1e-5)
    assert sorted(found.vision) == sorted(found.text) == list(range(5))
    np.testing.assert_array_equal(found.confidence, correlation[found.vision, found.text])
    assert (np.diff(found.confidence) <= 1e-6).all()


def test_a_latent_that_never_fired_is_left_for_the_end() -> None:
    correlation = np.full((3, 3), 0.9)
    found = assign(correlation, np.array([True, False, True]), np.array([False, True, True]))
    assert found.vision[2] == 1 and found.text[2] == 0
    np.testing.assert_array_equal(found.confidence, [0.9, 0.9, 0])


@given(st.integers(1, 6).flatmap(tied), st.integers(0, 2**32 - 1))
def test_ties_do_not_depend_on_the_last_digits_nor_on_the_layout_in_memory(
    tie: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    correlation, vision_fired, text_fired = tie
    expected = assign(correlation, vision_fired, text_fired)
    noise = np.random.default_rng(seed).uniform(-1e-9, 1e-9, correlation.shape)
    for shaken in (correlation + noise, np.asfortranarray(correlation)):
        found = assign(shaken, vision_fired, text_fired)
        np.testing.assert_array_equal(found.text, expected.text)
        np.testing.assert_array_equal(found.vision, expected.vision)
    gain = np.where(np.outer(vision_fired, text_fired), correlation, 0)
    matched = min(vision_fired.sum(), text_fired.sum())
    best = max(
        gain[range(len(gain)), order].sum()
        for order in map(list, permutations(range(len(gain))))
        if np.outer(vision_fired, text_fired)[range(len(gain)), order].sum() == matched
    )
    assert expected.confidence.sum() == pytest.approx(best)
