"""What a later stage would refuse is refused before the first, with its key, in one line."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from stages import check as check_module
from stages import cli
from stages.stage_options import stage_options

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[dict[str, Any]], Any]], list[str]]:
    """The problems of the shipped options with a change, in a checkout where nothing has run yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "scenes")
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())

    def problems_after(change: Callable[[dict[str, Any]], Any]) -> list[str]:
        values = copy.deepcopy(VALUES)
        change(values)
        Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        try:
            stage_options(Path("params.yaml"))
        except ConfigError as refused:
            return str(refused).splitlines()
        return []

    return problems_after


Check = Callable[[Callable[[dict[str, Any]], Any]], list[str]]


def test_nothing_is_wrong_with_the_shipped_options(check: Check) -> None:
    assert check(lambda values: None) == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("interpret.concepts", "inglish", "interpret.concepts: concept list inglish: no such file"),
        ("interpret.cluster_encoder", "all-MiniLM-L6-v2", "needs the package sentence-transformers"),
        ("evaluate.judge", "data/cache/other.zarr", "evaluate.judge: data/cache/other.zarr"),
        ("report.variant", "lucd", "report.variant: no variant 'lucd' (did you mean lucid?)"),
        ("report.ood_split", "odd", "report.ood_split: no split 'odd' (did you mean ood?)"),
        ("dataset.splits", {"train": "train"}, "dataset.splits: there is no val, which later stages need"),
        ("dataset.root", "nowhere", "nowhere: no such folder"),
        ("backbone.model", "local-dir:nowhere", "backbone.model"),
        ("backbone.model", "ViT-B-61", "backbone.model"),
        ("backbone.weights", "webly", "backbone.weights"),
        ("backbone.device", "cuda:99", "backbone.device: 'cuda:99' cannot be used"),
        ("backbone.device", "meta", "backbone.device: 'meta' cannot be used"),
        (
            "backbone.layer",
            4,
            "backbone.layer: backbone.model: models/tiny-siglip/open_clip_config.json has 3",
        ),
        (
            "dataset.splits.ood",
            "odd",
            "dataset.splits.ood: 'odd' is not drawn into data/scenes (did you mean ood?)",
        ),
        ("dataset.root", "x" * 300, "File name too long"),
        ("interpret.concepts", "x" * 300, "interpret.concepts: "),
        (
            "encode.shard_images",
            1 << 25,
            "encode.shard_images: Input should be less than or equal to 16777216",
        ),
        ("train.device", "gpu", "train.device: 'gpu' cannot be used"),
        (
            "train.batch_pairs",
            6001,
            "train.batch_pairs: 6001 is more than the 6000 pairs that scenes.train draws",
        ),
        (
            "hallucination.states.model",
            "local-dir:nowhere",
            "hallucination.states.model: 'nowhere' is no folder",
        ),
        ("hallucination.states.model", "x" * 300, "hallucination.states.model: 'xxx"),
        ("hallucination.states.layer", 2, "hallucination.states.layer: models/tiny-vlm has 2 decoder layers"),
        ("hallucination.states.prompt.template", "<image>", "the template needs {text} exactly once"),
        ("hallucination.dataset.splits.train", "trane", "'trane' is not drawn into data/companions"),
        (
            "hallucination.pairs",
            200,
            "hallucination: train.batch_pairs = 256 is more than the 200 pairs; lower it",
        ),
        ("hallucination.states.device", "gpu", "hallucination.states.device: 'gpu' cannot be used"),
        ("hallucination.dataset.root", "nowhere", "nowhere: no such folder"),
        ("variants.vl_sae.train.device", "gpu", "variants.vl_sae.train.device: 'gpu' cannot be used"),
    ],
)
def test_what_a_later_stage_would_refuse_is_told_first(
    check: Check, path: str, value: Any, told: str
) -> None:
    def change(values: dict[str, Any]) -> None:
        *groups, key = path.split(".")
        for group in groups:
            values = values[group]
        values[key] = value

    lines = check(change)
    assert [line for line in lines if told in line], lines


def test_a_variant_that_the_graph_shows_has_to_be_there(check: Check) -> None:
    def change(values: dict[str, Any]) -> None:
        del values["variants"]["separate"]

    assert check(change) == [
        "variants.separate: is missing, and the stage report of dvc.yaml shows it; take it out there"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"candidates": ["lucid", "lucd"]}, "candidates: no variant 'lucd' (did you mean lucid?)"),
        ({"baseline": "separate"}, "baseline: 'separate' is no candidate"),
        ({"scaled": ["matched"]}, "scaled: 'matched' is no candidate"),
        ({"scales": [{"budget": 1}]}, "scales.0: is the recipe as it is"),
        ({"scales": [{"budget": 3}, {"budget": 3}]}, "scales: one of them is there twice"),
        ({"controlled": ["matched"]}, "controlled: 'matched' is no candidate"),
        (
            {"same_side": {"variant": "matched", "seeds": [0, 1]}},
            "same_side.variant: 'matched' is no candidate",
        ),
        ({"same_side": {"variant": "lucid", "seeds": [1, 1]}}, "same_side.seeds: a training matches itself"),
        ({"classify": ["vl_sae"]}, "classify: 'vl_sae' is no candidate"),
        ({"classify": []}, "classify: List should have at least 1 item"),
        ({"seeds": [0, 1, 1]}, "seeds: one of them is there twice"),
        ({"controls": ["random"]}, "controls.0: Input should be 'untrained'"),
        ({"seed": 1}, "seed: no such option"),
    ],
)
def test_what_the_study_asks_for_has_to_be_there(check: Check, changes: dict[str, Any], told: str) -> None:
    asked = {
        "candidates": ["lucid"],
        "baseline": "lucid",
        "controlled": [],
        "classify": ["lucid"],
        "controls": [],
        "changed_captions": 0,
        "probed": [],
        "same_side": {"variant": "lucid", "seeds": [0, 1]},
    }
    sizes: dict[str, Any] = {"seeds": [0], "scaled": [], "scales": []}
    Path("study").mkdir()
    Path("study/params.yaml").write_text(yaml.safe_dump(asked | sizes), encoding="utf-8")
    assert check(lambda values: None) == []
    Path("study/params.yaml").write_text(yaml.safe_dump(asked | sizes | changes), encoding="utf-8")
    lines = check(lambda values: None)
    assert any(f"study/params.yaml: {told}" in line for line in lines), lines


def test_a_key_that_the_graph_names_has_to_be_written_out(check: Check) -> None:
    (line,) = check(lambda values: values["train"].pop("clip_norm"))
    assert line == (
        "train.clip_norm: is missing, and the stage train of dvc.yaml depends on it; write it, were it the default"
    )


def test_every_problem_is_told_at_once(check: Check) -> None:
    def change(values: dict[str, Any]) -> None:
        values["interpret"]["concepts"] = "inglish"
        values["report"]["variant"] = "lucd"

    assert len(check(change)) == 2


def test_a_split_of_unseen_combinations_may_be_left_out(check: Check) -> None:
    assert check(lambda values: values["dataset"]["splits"].pop("ood")) == []


def test_by_hand_a_command_asks_only_for_what_it_needs(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE")
    assert check(lambda values: values["interpret"].update(concepts="inglish")) == []


def test_the_command_says_what_is_wrong_and_what_is_not(
    check: Check, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["concord", "check"])
    for concepts, status, told in (("inglish", 1, "interpret.concepts"), ("english", 0, "nothing wrong")):
        check(lambda values, concepts=concepts: values["interpret"].update(concepts=concepts))
        with pytest.raises(SystemExit) as ended:
            cli.app()
        assert ended.value.code == status
        captured = capsys.readouterr()
        assert told in captured.out + captured.err


def test_a_finished_cache_needs_neither_pictures_nor_a_backbone(check: Check) -> None:
    for split in VALUES["dataset"]["splits"]:
        check_module.cache_path(split).mkdir(parents=True)

    def change(values: dict[str, Any]) -> None:
        values["dataset"]["root"] = "nowhere"
        values["backbone"]["model"] = "local-dir:nowhere"

    assert check(change) == []


@pytest.mark.parametrize(
    "command", ["evaluate ..", "interpret ../x", "classify ..", "explain a.png --variant .."]
)
def test_no_command_takes_a_name_that_leads_elsewhere(
    check: Check, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check(lambda values: None)
    monkeypatch.setattr("sys.argv", ["concord", *command.split()])
    with pytest.raises(SystemExit):
        cli.app()
    assert "is no name here; names begin with a letter or _" in capsys.readouterr().err
