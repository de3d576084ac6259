"""What docs/extending.md says that an architecture or a metric takes is all that it takes."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pipeline.backbone.model import Backbone
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.evaluation import METERS, evaluate
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import EvaluateOptions
from pipeline.results import study, tables
from pipeline.results.figure import Figure, Section
from pipeline.results.run import Run, flatten
from pipeline.results.study import study_tables
from pipeline.results.tables import metric_tables
from pipeline.sae.registry import ARCHITECTURES, Architecture, options_type
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions

from .axis_world import axis_sae, random_scenes, write_cache

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


def test_the_pages_metric_is_measured_and_has_its_row_and_its_column(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    diff = re.search(r"^## A metric\n.*?^```diff\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert diff
    added = [line[1:] for line in diff[1].splitlines() if line.startswith("+") and not line.startswith("+++")]
    *source, entry, vision, text = added
    names = {
        "Any": Any,
        "EncodedBatch": EncodedBatch,
        "Meter": Meter,
        "NotDefined": NotDefined,
        "SIDES": SIDES,
    }
    exec(compile("\n".join(source), str(PAGE), "exec"), names)
    for part, make in eval("{" + entry + "}", names).items():
        monkeypatch.setitem(METERS, part, make)  # type: ignore[arg-type]
    section = Section("Activity", "", eval(f"({vision} {text})", {"Figure": Figure}))
    monkeypatch.setattr(tables, "SECTIONS", (section,))
    monkeypatch.setattr(study, "SECTIONS", (section,))

    cache = write_cache(tmp_path / "val.zarr", random_scenes(8, seed=0), backbone, 0.0)
    metrics = evaluate(axis_sae(), cache, None, EvaluateOptions(least_positives=3))
    assert metrics["activity"].keys() == {"vision", "text"} and metrics["activity"]["vision"] > 0
    ((row, _),) = (table.rows for table in metric_tables([Run("lucid", tmp_path, flatten(metrics), {})]))
    assert row.cells[0].value == metrics["activity"]["vision"]
    assert "active V" in study_tables({"lucid": [metrics]})
