from pathlib import Path

import numpy as np
import pytest

from pipeline.results.run import Run
from pipeline.results.training import trainings


def training_of(values, **options):
    curve = tuple((float(10 * (place + 1)), value) for place, value in enumerate(values))
    (training,) = trainings([Run("lucid", Path("lucid"), {}, {"total": curve}, train=options)])
    return training


def test_a_run_tells_its_steps_its_warm_up_and_whether_its_loss_still_fell():
    generator = np.random.default_rng(0)
    noise = 0.01 * generator.standard_normal(200)
    falling = training_of(np.linspace(2, 1, 200) + noise, warmup_steps=500)
    assert (falling.steps, falling.warmup, falling.falling, falling.hardly_trained) == (
        2000,
        200,
        True,
        False,
    )
    assert falling.losses == (pytest.approx(1.95, abs=0.01), pytest.approx(1.05, abs=0.01))
    done = training_of(1 + np.exp(-np.arange(200) / 10) + noise, warmup_steps=50)
    assert (done.falling, done.warmup) == (False, 50)
    assert training_of(np.linspace(1, 2, 200) + noise).falling is False
    assert training_of(np.linspace(2, 1, 5)).falling is None


def test_a_run_of_few_steps_or_within_its_warm_up_is_hardly_trained():
    four = Run("lucid", Path("lucid"), {}, {"total": ((4.0, 1.0),)}, train={"warmup_steps": 50})
    (training,) = trainings([four])
    assert (training.steps, training.warmup, training.hardly_trained) == (4, 0, True)
    assert training_of(np.linspace(2, 1, 40), warmup_steps=400).hardly_trained
    assert not training_of(np.linspace(2, 1, 40), warmup_steps=399).hardly_trained
    (unknown,) = trainings([Run("lucid", Path("lucid"), {"a": 1.0}, {})])
    assert (unknown.steps, unknown.hardly_trained) == (None, False)
    assert trainings([Run("lucid", Path("lucid"), {}, {})]) == ()
