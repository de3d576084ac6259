"""`concord cache` as users type it: what it prints, what it writes, and how it ends."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cache import ActivationCache, CacheWriter
from stages.cli import app

CACHE_TESTS = Path(__file__).parents[1] / "cache"


def load(name):
    """A module beside the tests of the cache."""
    specification = importlib.util.spec_from_file_location(name, CACHE_TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example():
    return load("example_cache").Example()


@pytest.fixture(scope="module")
def source(example, tmp_path_factory):
    """A finished cache, not to be changed."""
    return example.write(tmp_path_factory.mktemp("source") / "example.zarr").path


@pytest.fixture
def path(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy.zarr")


def concord_cache(*arguments, status=0):
    """Run a command; gives what it prints if it succeeds, and otherwise its error."""
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    assert result.exit_code == status, result.output
    assert not result.exception or isinstance(result.exception, SystemExit)
    return result.stdout if status == 0 else result.stdout + result.stderr


def test_info_shows_what_a_cache_is(source, example):
    shown = concord_cache("info", source)
    for expected in (
        "complete",
        "tiny, layer last",
        "11 in 3 shards",
        "13; 3 rows skipped",
        "float16",
        "vision/tokens",
    ):
        assert expected in shown
    found = json.loads(concord_cache("info", source, "--json"))
    assert found["manifest"] == example.manifest.to_json()
    assert found["totals"]["pairs"] == 13 and found["complete"] and found["committed"] == found["shards"] == 3
    on_disk = sum(
        file.stat().st_size for file in source.rglob("c.*.0") if file.parent.name in ("tokens", "pooled")
    )
    assert (
        sum(found["bytes"][name] for name in found["bytes"] if name.endswith(("tokens", "pooled"))) == on_disk
    )


def test_info_of_an_unfinished_cache_counts_its_shards(example, tmp_path):
    with CacheWriter.open(tmp_path / "c.zarr", example.manifest) as writer:
        writer.write_shard(1, *example.shard(1))
    assert "unfinished: 1 of 3 shards" in concord_cache("info", writer.path)
    found = json.loads(concord_cache("info", writer.path, "--json"))
    assert (found["complete"], found["committed"], found["totals"]["images"]) == (False, 1, 4)


def test_info_and_subset_read_a_url_and_verify_refuses_it(source, tmp_path):
    with load("range_server").RangeServer(source.parent) as server:
        url = f"{server.url}/example.zarr"
        local, remote = (json.loads(concord_cache("info", place, "--json")) for place in (source, url))
        assert remote == {**local, "location": url}
        concord_cache("subset", url, tmp_path / "subset.zarr", "--pairs", "3:6")
        assert "only a cache on disk can be verified" in concord_cache("verify", url, status=1)
    ours, theirs = ActivationCache.open(tmp_path / "subset.zarr"), ActivationCache.open(source)
    assert ours.read_pairs(np.arange(3)).text_tokens.equal(theirs.read_pairs(np.arange(3, 6)).text_tokens)


def test_info_of_nothing_is_one_line_and_status_1(tmp_path):
    assert concord_cache("info", tmp_path / "nowhere.zarr", status=1).count("\n") == 1


def test_verify_ends_with_status_0_only_for_a_sound_cache(path):
    assert "are what was written" in concord_cache("verify", path)
    assert json.loads(concord_cache("verify", path, "--json"))["sound"] is True
    (path / "vision/pooled/c.1.0").unlink()
    shown = concord_cache("verify", path, status=1)
    assert "vision/pooled/c.1.0 is missing; shard 1: 3 pairs (6 to 8), image ids 104, 105, 106, 107" in shown
    assert "concord cache repair" in shown


def test_verify_prints_its_problems_as_json(path):
    (path / "vision/pooled/c.1.0").unlink()
    result = CliRunner().invoke(app, ["cache", "verify", str(path), "--json"])
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["pairs"] == {"count": 3, "first": 6, "last": 8, "image_ids": [104, 105, 106, 107]}


def test_stats_shows_both_sides_and_gives_every_channel(source):
    shown = concord_cache("stats", source)
    assert "vision" in shown and "text" in shown and "values clipped" in shown
    found = json.loads(concord_cache("stats", source, "--json"))
    with ActivationCache.open(source) as cache:
        statistics, means = cache.statistics, cache.position_means
    for side in ("vision", "text"):
        np.testing.assert_array_equal(found[side]["mean"], statistics[side].mean)
        np.testing.assert_array_equal(found[side]["variance"], statistics[side].variance)
        assert found[side]["count"] == statistics[side].count
        share = means[side].between(statistics[side].mean).sum() / statistics[side].squared_deviation.sum()
        assert found[side]["explained_by_position"] == share
        assert f"{share:.1%}" in shown
        assert list(found[side]["norm_quantiles"].values()) == list(statistics[side].norm_quantiles.values())


def test_subset_merge_convert_and_export_follow_each_other(source, tmp_path):
    first, second, merged, small = (
        tmp_path / f"{name}.zarr" for name in ("first", "second", "merged", "small")
    )
    assert "derived by" in concord_cache("subset", source, first, "--pairs", ":6")
    concord_cache("subset", source, second, "--where", "split=train", "--pairs", "6:")
    concord_cache("merge", first, second, merged)
    assert "bfloat16" in concord_cache("convert", merged, small, "--dtype", "bfloat16", "--shard-images", 2)
    lossy = concord_cache("convert", merged, tmp_path / "lossy.zarr", "--codec", "bitround", "--measure")
    assert "float16, bitround" in lossy and "vision: " in lossy and "of the variance is lost" in lossy
    assert "description.json" in concord_cache("export", small, tmp_path / "files", "--format", "parquet")
    for cache in (first, second, merged, small):
        concord_cache("verify", cache)
    assert ActivationCache.open(small).manifest.shards == len(list((tmp_path / "files").glob("shard-*"))) == 4
    whole, ours = (ActivationCache.open(path).read_pairs(np.arange(13)) for path in (source, merged))
    assert whole.vision_tokens.equal(ours.vision_tokens) and whole.text_tokens.equal(ours.text_tokens)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["subset", "{source}", "t.zarr"], "--pairs, --pairs-file or --where"),
        (["convert", "{source}", "t.zarr"], "--codec or --shard-images"),
        (["convert", "{source}", "t.zarr", "--dtype", "float8"], "float8"),
        (["export", "{source}", "t", "--format", "pickle"], "pickle"),
    ],
)
def test_a_mistyped_command_ends_with_status_2(source, arguments, told):
    assert told in concord_cache(*(part.format(source=source) for part in arguments), status=2)


def test_a_users_mistake_is_one_line_and_status_1(source, tmp_path):
    told = concord_cache("subset", source, tmp_path / "t.zarr", "--where", "colour=red", status=1)
    assert "not COLUMN=VALUE; the columns are" in told and "Traceback" not in told
    assert not (tmp_path / "t.zarr").exists()
