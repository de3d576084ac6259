"""The stage on a world of a few pictures: the command's every file is there, and the same again."""

import json
from pathlib import Path

from pipeline.datasets.coco import CocoDataset
from pipeline.language_models.options import PollingOptions
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from stages.decoder import train_decoder

OPTIONS = InstructionTuningOptions(
    pictures=4,
    test_pictures=4,
    steps=2,
    images=2,
    questions=1,
    warmup_steps=1,
    feed_forward=8,
    polling=PollingOptions(images=2, objects=1),
)


def test_it_ends_in_a_model_its_figures_and_the_pictures_it_learned_from(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_decoder(tmp_path / name, OPTIONS, tmp_path / "companions", tmp_path / f"scratch-{name}")
    assert len(CocoDataset.open(tmp_path / "companions", "train").images) == 4
    figures = json.loads((tmp_path / "a/evaluation.json").read_text())
    assert set(figures) == {"random", "popular", "adversarial", "blind"}
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= written
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
