"""One assignment of two sides' latents, by correlation."""

from itertools import permutations

import numpy as np
import pytest
import torch

from pipeline.matching.assignment import assign
from pipeline.matching.coactivation import CoActivation

GENERATOR = np.random.default_rng(0)


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


def test_ties_do_not_depend_on_the_last_digits() -> None:
    correlation = np.full((6, 6), 0.5)
    everything = np.ones(6, dtype=bool)
    expected = assign(correlation, everything, everything)
    shaken = assign(correlation + GENERATOR.uniform(-1e-9, 1e-9, (6, 6)), everything, everything)
    np.testing.assert_array_equal(shaken.text, expected.text)
    np.testing.assert_array_equal(shaken.vision, expected.vision)
