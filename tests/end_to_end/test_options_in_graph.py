"""Which option makes which stages run again: those whose files it decides, and no other; variants one by one."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

from pipeline.params import Params, load_params
from stages.study_options import study_options

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SHIPPED = load_params(ROOT / "params.yaml")
STUDY = study_options(ROOT / "study/params.yaml")

MACHINE = {
    "backbone.device",
    "encode.decode_workers",
    "evaluate.batch_pairs",
    "hallucination.states.device",
    "hallucination.train.device",
    "hallucination.train.placement",
    "interpret.batch_pairs",
    "scenes.workers",
    "train.checkpoint_every",
    "train.device",
    "train.placement",
}
"""Options that say how this machine works; no stage depends on them."""

PATHS = {"dataset.root"}
"""Options that decide which files are read; stages depend on those."""

TRAINED = {"train", "repeat"}
READERS_OF_BACKBONE = {"encode", "classify"}
AFFECTED: Mapping[str, set[str]] = {
    "scenes": {"scenes"},
    "scenes.seed": {"scenes", "evaluate", "repeat"},
    "dataset": {"encode"},
    "dataset.splits.train": {"report"},
    "dataset.splits.val": {"report"},
    "dataset.splits.ood": {"report"},
    "backbone": READERS_OF_BACKBONE,
    "encode": {"encode"},
    "sae": TRAINED,
    "train": TRAINED,
    "train.seed": {"train"},
    "interpret": {"interpret", "repeat"},
    "evaluate": {"evaluate", "repeat"},
    "evaluate.changed_captions": {"evaluate"},
    "evaluate.probes": {"evaluate"},
    "evaluate.least_positives": {"evaluate", "ceiling", "same_side", "repeat"},
    "evaluate.seed": {"evaluate", "ceiling", "same_side", "repeat"},
    "evaluate.concept_pooling": {"evaluate", "classify", "same_side", "repeat"},
    "hallucination": {"hallucination"},
}
"""Groups of stages by the option, or the section, that decides what they write."""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """The parameters of every stage, as DVC reads the graph."""
    folder = tmp_path_factory.mktemp("graph")
    (folder / "study").mkdir()
    for name in ("dvc.yaml", "params.yaml", "study/dvc.yaml", "study/params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    Repo.init(str(folder), no_scm=True).close()
    with Repo(str(folder)) as repo:
        return {
            stage.name: {
                key
                for one in stage.deps
                if isinstance(one, ParamsDependency) and one.def_path == "params.yaml"
                for key in one.params
            }
            for stage in repo.index.stages
        }


def stages_of(key: str, declared: Mapping[str, set[str]]) -> set[str]:
    """The stages that run again when the option `key` changes."""
    parts = key.split(".")
    containing = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return {stage for stage, keys in declared.items() if keys & containing}


def leaves(values: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(values, dict) or not values:
        yield prefix
        return
    for key, value in values.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else key)


OPTIONS = list(leaves({name: value for name, value in VALUES.items() if name != "variants"}))


@pytest.mark.parametrize("key", OPTIONS)
def test_an_option_runs_the_stages_again_whose_files_it_decides(
    key: str, declared: Mapping[str, set[str]]
) -> None:
    groups = {stage.partition("@")[0] for stage in stages_of(key, declared)}
    section = key.partition(".")[0]
    expected = AFFECTED.get(key, AFFECTED.get(section, {section}))
    assert groups == (set() if key in MACHINE | PATHS else expected)


@pytest.mark.parametrize("name", VALUES["variants"])
def test_a_variant_is_set_alone(name: str, declared: Mapping[str, set[str]], tmp_path: Path) -> None:
    """As `dvc exp run --set-param` writes it into params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    before = SHIPPED.variants
    key = f"variants.{name}.train.weight_decay"
    apply_overrides(tmp_path / "params.yaml", [f"++{key}=1.5e-5"])
    after = load_params(tmp_path / "params.yaml").variants
    assert after[name].train == before[name].train.model_copy(update={"weight_decay": 1.5e-5})
    assert {one for one in before if before[one] != after[one]} == {name}
    repeated = {f"repeat@{name}"} if name in STUDY.candidates else set()
    assert stages_of(key, declared) == {f"train@{name}"} | repeated


@pytest.mark.parametrize("name", VALUES["variants"])
def test_every_option_of_a_variant_can_be_set_as_it_stands(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    overrides = []
    for key in leaves(VALUES["variants"][name], f"variants.{name}"):
        written: Any = VALUES
        for part in key.split("."):
            written = written[part]
        overrides.append(f"{key}={written}")
    apply_overrides(tmp_path / "params.yaml", [one for one in overrides if not one.endswith("={}")])
    assert load_params(tmp_path / "params.yaml") == SHIPPED


@pytest.mark.parametrize(
    "section", ["scenes", "dataset", "backbone", "encode", "train", "interpret", "evaluate"]
)
def test_a_section_that_stages_depend_on_by_key_is_written_out(section: str) -> None:
    options = Params.model_fields[section].annotation
    assert VALUES[section].keys() == options.model_fields.keys()  # type: ignore[union-attr]


def test_what_is_written_out_is_the_default_where_the_embedded_world_asks_for_nothing_else() -> None:
    for options in (SHIPPED.evaluate, SHIPPED.interpret, SHIPPED.backbone, SHIPPED.encode):
        assert options == type(options)()
