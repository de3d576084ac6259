"""What docs/extending.md says that an architecture takes is all that it takes."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pipeline.backbone.model import Backbone
from pipeline.metrics.evaluation import evaluate
from pipeline.metrics.options import EvaluateOptions
from pipeline.sae.registry import ARCHITECTURES, Architecture, options_type
from pipeline.sae.saving import load_sae, save_sae
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions

from .axis_world import random_scenes, write_cache

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's architecture, registered under its name: its file, and its line in the registry."""
    text = PAGE.read_text(encoding="utf-8")
    source = re.search(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    line = re.search(r'^\+ +"(\w+)": Architecture\("(.+)", "(.+)"\),$', text, flags=re.MULTILINE)
    assert source and line
    name, options, model = line.groups()
    module = ModuleType(options.split(":")[0])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source[1], str(PAGE), "exec"), vars(module))
    monkeypatch.setitem(ARCHITECTURES, name, Architecture(options, model))  # type: ignore[arg-type]
    return name


def test_the_pages_architecture_trains_is_saved_loaded_and_evaluated(
    plain: str, backbone: Backbone, tmp_path: Path
) -> None:
    cache = write_cache(tmp_path / "train.zarr", random_scenes(24, seed=0), backbone, 0.1)
    options = options_type(plain).parse({"architecture": plain, "latents": 32, "k": 4}, "sae")
    records: list[dict[str, float]] = []
    train = TrainOptions(epochs=8, batch_pairs=8, learning_rate=1e-2, device="cpu", record_every=1)
    sae = fit(cache, {plain: Training(options, train, record=records.append)}).saes[plain]
    assert records[-1]["total"] < 0.8 * records[0]["total"]
    save_sae(sae, tmp_path / plain)
    loaded = load_sae(tmp_path / plain)
    assert torch.equal(loaded.directions("text"), sae.directions("text"))
    metrics = evaluate(loaded, cache, None, EvaluateOptions())
    assert metrics["reconstruction"]["vision"]["shared"] > 0.2
    assert {"vision_to_text", "text_to_vision"} <= metrics["reconstruction"].keys()
    assert metrics["grounding"]
