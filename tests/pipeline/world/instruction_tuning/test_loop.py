from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.language_models.examples import Example
from pipeline.runs.checkpoint import LossRecord
from pipeline.world.instruction_tuning import loop
from pipeline.world.instruction_tuning.loop import tune
from pipeline.world.instruction_tuning.options import InstructionTuningOptions


class InterruptionError(Exception):
    pass


@pytest.fixture(autouse=True)
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)


def test_an_interrupted_training_resumes_to_the_same_weights(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    examples: list[Example],
    features: Tensor,
    options: InstructionTuningOptions,
    tmp_path: Path,
) -> None:
    def interrupt(record: LossRecord) -> None:
        if record["step"] == 4:
            raise InterruptionError

    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    history = tune(model, processor, examples, features, options, tmp_path / "whole")
    whole = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert [record["step"] for record in history] == [1, 2, 3, 4, 5]
    model.load_state_dict(start)
    with pytest.raises(InterruptionError):
        tune(model, processor, examples, features, options, tmp_path / "halves", interrupt)
    model.load_state_dict(start)
    assert tune(model, processor, examples, features, options, tmp_path / "halves") == history
    assert all(torch.equal(whole[name], tensor) for name, tensor in model.state_dict().items())
    same = {name for name, tensor in whole.items() if torch.equal(start[name], tensor)}
    assert same == {name for name in whole if "vision_tower" in name}


def test_it_learns_what_it_is_shown(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    examples: list[Example],
    features: Tensor,
    options: InstructionTuningOptions,
    tmp_path: Path,
) -> None:
    longer = options.model_copy(update={"steps": 12})
    history = tune(model, processor, examples[:2], features, longer, tmp_path / "checkpoint")
    assert history[-1]["word_loss"] < 0.8 * history[0]["word_loss"]
