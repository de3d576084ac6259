"""Parts of `metrics.json` that options ask for: captions of the embedded world with one fact changed, and probes."""

from pathlib import Path

import pytest
from micro_project import RUN, change_params, working_in, write_project
from typer.testing import CliRunner

from cache import ActivationCache
from pipeline.runs.metrics import read_metrics
from pipeline.world.changed_captions import changed_captions
from pipeline.world.scenes.scene import KINDS
from stages import cli


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changed")
    write_project(folder)
    with working_in(folder):
        assert CliRunner().invoke(cli.app, ["train", "lucid"]).exit_code == 0
    return folder


@pytest.fixture(autouse=True)
def in_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_every_caption_is_changed_in_one_fact_and_alike_each_time() -> None:
    cache = ActivationCache.open("data/cache/val.zarr")
    changed = changed_captions(cache, seed=0, count=2)
    captions = cache.samples["caption"].to_pylist()
    assert {one.pair for one in changed} == set(range(cache.pairs))
    for one in changed:
        assert one.caption == captions[one.pair] != one.text and one.kind in KINDS
        words = [set(text.split()) for text in (one.caption, one.text)]
        assert words[0] & words[1]
    assert changed == changed_captions(cache, seed=0, count=2)
    assert changed_captions(cache, seed=1, count=2) == []  # other scenes: nothing is known of these pictures


def test_metrics_have_the_part_where_it_is_asked_for(project: Path) -> None:
    evaluate = lambda: CliRunner().invoke(cli.app, ["evaluate", "lucid"])  # noqa: E731
    assert evaluate().exit_code == 0
    assert "changed_captions" not in read_metrics(RUN)
    change_params(project, "evaluate", changed_captions=2)
    assert evaluate().exit_code == 0
    found = read_metrics(RUN)["changed_captions"]
    assert set(found) == {"codes", "centred", "backbone"} and 0 <= found["codes"]["all"] <= 1
    edits = read_metrics(RUN)["edits"]
    assert set(edits) == {"strength_1", "strength_4"} and "cause" in edits["strength_4"]["control"]
    change_params(project, "scenes", seed=7)
    said = evaluate()
    assert said.exit_code == 1 and "not of scenes.seed 7" in " ".join(said.output.split())


def test_probes_are_there_where_they_are_asked_for_and_not_without_their_training_pairs(
    project: Path,
) -> None:
    change_params(project, "evaluate", changed_captions=0, probes=True, least_positives=2)
    assert CliRunner().invoke(cli.app, ["evaluate", "lucid"]).exit_code == 0
    assert {"k1", "k2", "k5", "dense", "chance"} == set(read_metrics(RUN)["probes"])
    (project / "data/cache/train.zarr").rename(project / "moved.zarr")
    said = CliRunner().invoke(cli.app, ["evaluate", "lucid"])
    assert said.exit_code == 1 and "evaluate.probes: data/cache/train.zarr is not there" in " ".join(
        said.output.split()
    )
