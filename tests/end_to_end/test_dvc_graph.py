"""The graph re-runs what a change touches, and nothing else; its caches are shared without being copied or encoded."""

import hashlib
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from cache import ActivationCache, CacheWriter, ShardActivations
from pipeline.params import load_params
from stages.cache_repair import repair

from .conftest import Project


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_demo_ends_in_a_report_and_in_metrics_of_every_variant_it_trains(
    finished_project: Project,
) -> None:
    assert "<html" in (finished_project.folder / "report/index.html").read_text(encoding="utf-8")
    for variant in ("matched", "lucid", "separate"):
        metrics = json.loads((finished_project.folder / f"runs/{variant}/metrics.json").read_text())
        assert {
            "reconstruction",
            "grounding",
            "degeneracy",
            "concepts",
            "counts",
            "interpretation",
        } <= metrics.keys()


def test_a_variants_option_retrains_that_variant_and_what_hangs_on_it(finished_copy: Project) -> None:
    finished_copy.change(variants={"separate": {"train": {"learning_rate": 0.002}}})
    assert finished_copy.stages_run("repro", "report") == {
        "train@separate",
        "interpret@separate",
        "evaluate@separate",
        "report",
    }


def test_an_experiment_changes_the_option_it_names_and_what_follows_from_it(
    finished_project: Project, encoded_copy: Project
) -> None:
    option = "+variants.lucid.train.epochs=1"
    assert encoded_copy.stages_run("exp", "run", "--set-param", option, "evaluate@lucid") == {
        "train@lucid",
        "interpret@lucid",
        "evaluate@lucid",
    }
    config = json.loads((encoded_copy.folder / "runs/lucid/config.json").read_text())
    assert config["training"]["train"]["epochs"] == 1
    of_both = [project.folder / "runs/lucid/metrics.json" for project in (finished_project, encoded_copy)]
    assert of_both[0].read_text() != of_both[1].read_text()


def test_a_new_variant_trains_only_itself_and_what_decides_no_file_runs_nothing(
    finished_copy: Project,
) -> None:
    finished_copy.change(
        scenes={"workers": 2},
        backbone={"device": "cpu:0"},
        encode={"decode_workers": 1},
        train={"checkpoint_every": 7, "placement": "host", "device": "auto"},
        interpret={"batch_pairs": 7},
        evaluate={"batch_pairs": 7},
        variants={"pooled": {"sae": {"architecture": "vl_sae", "latents": 64, "k": 8}}},
    )
    for package in ("cache/format", "pipeline/sae", "pipeline/metrics"):
        compiled = finished_copy.folder / package / "__pycache__/new.cpython-311.pyc"
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(b"compiled")
    assert finished_copy.stages_run("repro", "evaluate@pooled", "report") == {
        "train@pooled",
        "interpret@pooled",
        "evaluate@pooled",
    }
    metrics = json.loads((finished_copy.folder / "runs/pooled/metrics.json").read_text())
    assert {"reconstruction", "alignment", "consistency", "interpretation", "not_defined"} <= metrics.keys()


def test_the_report_is_written_anew_alone_and_does_without_a_split_of_unseen_combinations(
    finished_copy: Project,
) -> None:
    finished_copy.change(report={"title": "Another title"})
    path = finished_copy.folder / "params.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    del values["dataset"]["splits"]["ood"]
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    shutil.rmtree(finished_copy.folder / "data/cache/ood.zarr")
    assert finished_copy.stages_run("repro", "report") == {"report"}
    page = (finished_copy.folder / "report/index.html").read_text(encoding="utf-8")
    assert "Another title" in page
    assert "There is no cache of the split" in page


def test_a_misspelt_value_of_a_later_stage_is_found_before_anything_is_encoded(encoded_copy: Project) -> None:
    before = digests(encoded_copy.folder / "data/cache")
    encoded_copy.change(encode={"shard_images": 8}, interpret={"concepts": "inglish"})
    finished = encoded_copy.run("dvc", "repro", "report")
    assert finished.returncode != 0
    assert "interpret.concepts: concept list inglish: no such file" in finished.stdout
    assert digests(encoded_copy.folder / "data/cache") == before


def test_killing_and_repeating_ends_in_the_same_outputs(
    finished_project: Project, encoded_copy: Project
) -> None:
    shutil.rmtree(encoded_copy.folder / "data/cache/train.zarr")  # what is whole is not encoded again
    for target, sign_of_progress in (
        ("encode@train", "data/cache/train.zarr/ledger/*"),
        ("train@lucid", "runs/lucid/checkpoint.safetensors"),
    ):
        kill_in_the_middle(encoded_copy, target, sign_of_progress)
        encoded_copy.succeed("dvc", "repro", "--force", "--single-item", target)
    cache, run = "data/cache/train.zarr", "runs/lucid"
    assert digests(encoded_copy.folder / cache) == digests(finished_project.folder / cache)
    by_later_stages = {"latents.parquet", "metrics.json"}
    trained = digests(finished_project.folder / run)
    assert digests(encoded_copy.folder / run) == {
        name: trained[name] for name in trained.keys() - by_later_stages
    }
    assert store_is_intact(encoded_copy)


def kill_in_the_middle(project: Project, target: str, sign_of_progress: str) -> None:
    """Force `target` to run and kill DVC and its command, without warning, once the sign of progress is there."""
    started = time.time()
    with subprocess.Popen(
        ["dvc", "repro", "--force", "--single-item", target],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            if any(path.stat().st_mtime >= started for path in project.folder.glob(sign_of_progress)):
                project.kill_commands()
            time.sleep(0.002)  # a busy loop would take a core from what it watches
    assert process.returncode == -signal.SIGKILL, f"{target} ended before it could be killed"


def test_workspace_and_store_share_every_file_of_the_caches(encoded_project: Project) -> None:
    cached = files(encoded_project.folder / "data/cache")
    stored = {path.stat().st_ino for path in files(encoded_project.folder / ".dvc/cache")}
    assert len(cached) > 3 * 20
    assert {path.stat().st_ino for path in cached} <= stored


@pytest.fixture(scope="module")
def remote(encoded_project: Project) -> Path:
    """The folder to which the demo was pushed as far as its caches."""
    encoded_project.succeed("dvc", "push")
    return encoded_project.folder.parent / "remote"


@pytest.mark.usefixtures("remote")
def test_a_second_checkout_pulls_and_trains_without_encoding(
    encoded_project: Project, tmp_path: Path
) -> None:
    clone = encoded_project.clone(tmp_path / "clone")
    clone.succeed("dvc", "pull", "--with-deps", "encode@train")
    clone.change(variants={"small": {"sae": {"latents": 32}}})
    assert clone.stages_run("repro", "train@small") == {"train@small"}


@pytest.mark.usefixtures("remote")
def test_the_cache_alone_is_enough_to_train_and_a_further_split_concerns_no_training(
    encoded_project: Project, tmp_path: Path
) -> None:
    clone = encoded_project.clone(tmp_path / "clone")
    clone.succeed("dvc", "pull", "data/cache/train.zarr")
    assert [path.name for path in (clone.folder / "data").iterdir()] == ["cache"]
    clone.change(dataset={"splits": {"more": "val"}}, variants={"small": {"sae": {"latents": 32}}})
    assert clone.stages_run("repro", "--dry", "--allow-missing", "train@small") == {"train@small"}


def test_only_the_files_that_a_new_shard_changes_travel(encoded_copy: Project, remote: Path) -> None:
    before, stored = digests(encoded_copy.folder / "data/cache/train.zarr"), set(files(remote))
    write_shard_anew(encoded_copy.folder / "data/cache/train.zarr", shard=1)
    assert store_is_intact(encoded_copy)
    encoded_copy.succeed("dvc", "commit", "--force", "encode@train")
    encoded_copy.succeed("dvc", "push", "encode@train")
    after = digests(encoded_copy.folder / "data/cache/train.zarr")
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if not name.startswith("statistics")} == {
        "ledger.parquet",
        "vision/tokens/c.1.0.0",
        "zarr.json",
    }
    assert len(set(files(remote)) - stored) == len(changed) + len(["the list of the files"])


@pytest.mark.usefixtures("remote")
def test_a_damaged_file_is_fetched_anew_once_dvc_is_told_to_look(encoded_copy: Project) -> None:
    shard = encoded_copy.folder / "data/cache/train.zarr/vision/tokens/c.1.0.0"
    whole = shard.read_bytes()
    damage(shard)
    shard.chmod(0o644)
    encoded_copy.succeed("dvc", "pull", "--force", "encode@train")
    assert shard.read_bytes() == whole
    assert store_is_intact(encoded_copy)


def test_a_repaired_file_replaces_the_damaged_one_in_the_store(
    encoded_copy: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(encoded_copy.folder)
    means = encoded_copy.folder / "data/cache/train.zarr/statistics/vision/mean/c.0"
    whole = means.read_bytes()
    damage(means)
    assert not repair("data/cache/train.zarr", load_params(Path("params.yaml")), "train").problems
    encoded_copy.succeed("dvc", "commit", "--force", "encode@train")
    assert means.read_bytes() == whole
    assert store_is_intact(encoded_copy)


def test_a_cache_that_dvc_only_watches_is_neither_stored_nor_pushed(
    encoded_copy: Project, remote: Path, tmp_path: Path
) -> None:
    out = "        - data/cache/${key}.zarr:\n"
    edit(encoded_copy.folder / "dvc.yaml", out, f"{out}            cache: false\n")
    edit(encoded_copy.folder / ".dvc/config", str(remote), str(tmp_path / "empty"))
    assert encoded_copy.run("dvc", "status", "--quiet", "encode@train").returncode == 0
    encoded_copy.succeed("dvc", "push", "encode@train")
    assert files(tmp_path / "empty") == []
    write_shard_anew(encoded_copy.folder / "data/cache/train.zarr", shard=1)
    assert encoded_copy.run("dvc", "status", "--quiet", "encode@train").returncode == 1


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def damage(path: Path) -> None:
    """Write into a file, under whatever other names it has, and leave it as protected as it was."""
    protection = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"rot")
    path.chmod(protection)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def store_is_intact(project: Project) -> bool:
    """Whether everything that DVC keeps still is what it is named after: nothing wrote through a link."""
    return all(
        hashlib.md5(path.read_bytes()).hexdigest() == path.parent.name + path.name.removesuffix(".dir")
        for path in files(project.folder / ".dvc/cache/files/md5")
    )


def write_shard_anew(path: Path, shard: int) -> None:
    """Replace the patch tokens of a shard by others, as encoding a part of the pictures again may do."""
    cache = ActivationCache.open(path)
    images = np.array(cache.manifest.image_range(shard))
    samples = cache.samples.filter(np.isin(cache.samples["image_row"].to_numpy(), images))
    captions = samples["caption_row"].to_numpy()
    lengths, first = cache.caption_lengths[captions], cache.caption_starts[captions[0]]
    tokens = np.arange(first, first + lengths.sum())
    patches, pooled = (cache.read_stored(f"vision/{name}", images).decoded() for name in ("tokens", "pooled"))
    activations = ShardActivations(
        vision_tokens=patches.numpy() / 2,
        vision_pooled=pooled.numpy(),
        text_tokens=cache.read_rows("text/tokens", tokens),
        text_lengths=lengths,
        token_ids=cache.read_rows("text/token_ids", tokens),
        text_pooled=cache.read_rows("text/pooled", captions),
    )
    with CacheWriter.reopen(path, [shard]) as writer:
        writer.write_shard(shard, activations, samples)
        writer.finish()
