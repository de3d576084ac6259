import dataclasses
import os
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cache import (
    ActivationCache,
    CacheError,
    CacheFormatError,
    CacheIdentityError,
    CacheIncompleteError,
    CacheWriter,
    DiskSpaceError,
    Manifest,
    ShardContentError,
    disk_budget,
)


def changed(activations, name, index, value):
    array = getattr(activations, name).copy()
    array[index] = value
    return activations._replace(**{name: array})


@pytest.fixture
def writer(example, tmp_path):
    return CacheWriter.open(tmp_path / "example.zarr", example.manifest)


def test_a_file_in_the_way_is_refused(example, tmp_path):
    (tmp_path / "example.zarr").write_text("mine")
    with pytest.raises(CacheFormatError, match="is a file"):
        example.write(tmp_path / "example.zarr")
    assert (tmp_path / "example.zarr").read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "zarr.json"])
def test_a_foreign_folder_is_refused_and_left_alone(example, tmp_path, name):
    (tmp_path / name).write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(CacheFormatError, match="not an activation cache"):
        example.write(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_another_identity_is_refused_with_both_values(example, writer):
    backbone = {**example.backbone, "weights_sha256": "cd" * 32}
    other = dataclasses.replace(example, backbone=backbone)
    writer.close()
    with pytest.raises(CacheIdentityError) as error:
        CacheWriter.open(writer.path, other.manifest)
    assert f'backbone.weights_sha256: the cache has "{"ab" * 32}", expected "{"cd" * 32}"' in str(error.value)


def test_finishing_early_names_the_missing_shards(example, writer):
    writer.write_shard(1, *example.shard(1))
    with pytest.raises(
        CacheIncompleteError, match=r"1 of 3 shards are committed; write shards \[0, 2\] first"
    ):
        writer.finish()


def test_a_shard_is_written_only_once(example, writer):
    writer.write_shard(1, *example.shard(1))
    with pytest.raises(ShardContentError, match="shard 1 is not missing"):
        writer.write_shard(1, *example.shard(1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "index", "image"),
    [
        ("vision_tokens", (2, 5, 1), 102),
        ("vision_pooled", (1, 0), 101),
        ("text_tokens", (0, 3), 100),
        ("text_tokens", (-1, 0), 102),
        ("text_pooled", (2, 2), 101),
    ],
)
def test_values_that_are_not_finite_are_refused_naming_the_image(example, writer, name, index, image, value):
    activations, samples = example.shard(0)
    with pytest.raises(ShardContentError, match=rf"shard 0: {name} has .* image ids {image};"):
        writer.write_shard(0, changed(activations, name, index, value), samples)
    assert writer.missing_shards == [0, 1, 2]


def test_values_beyond_float16_are_clipped_and_counted(example, writer):
    activations, samples = example.shard(0)
    activations = changed(activations, "vision_tokens", (0, 0), [7e4, -1e30, 65504, -65504, 65505])
    activations = changed(activations, "text_pooled", 0, -1e5)
    writer.write_shard(0, activations, samples)
    cache = example.write_into(writer)
    stored = cache.read_stored("vision/tokens", np.array([0])).decoded()[0, 0]
    assert stored.tolist() == [65504, -65504, 65504, -65504, 65504]
    assert cache.statistics["vision"].overflow == 3
    assert cache.statistics["text"].overflow == 3
    assert np.isfinite(cache.statistics["vision"].variance).all()


def test_float32_keeps_large_values(example, tmp_path):
    exact = dataclasses.replace(example, storage_dtype="float32")
    writer = CacheWriter.open(tmp_path / "exact.zarr", exact.manifest)
    activations, samples = exact.shard(0)
    writer.write_shard(0, changed(activations, "vision_tokens", (0, 0, 0), 1e30), samples)
    cache = exact.write_into(writer)
    assert cache.read_stored("vision/tokens", np.array([0])).decoded()[0, 0, 0] == np.float32(1e30)
    assert cache.statistics["vision"].overflow == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"vision_tokens": a.vision_tokens[:, :5]}, r"vision_tokens is float32 \[4, 5, 5\]"),
        (lambda a: {"vision_pooled": a.vision_pooled.astype(int)}, "vision_pooled is int64"),
        (lambda a: {"text_tokens": a.text_tokens[1:]}, "text_tokens is float32"),
        (lambda a: {"token_ids": a.token_ids[1:]}, "token_ids is int64"),
        (lambda a: {"text_lengths": a.text_lengths[:-1]}, r"text_lengths is int64 \[6\]"),
        (
            lambda a: {"text_lengths": np.add(a.text_lengths, [-20, 20, 0, 0, 0, 0, 0])},
            "the context holds 0 to 9",
        ),
    ],
)
def test_activations_that_do_not_fit_the_manifest_are_refused(example, writer, change, message):
    activations, samples = example.shard(0)
    with pytest.raises(ShardContentError, match=message):
        writer.write_shard(0, activations._replace(**change(activations)), samples)


def with_column(table, name, values):
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["file"]), r"lacks columns \['file'\]"),
        (lambda t: t.append_column("colour", t["file"]), r"unknown columns \['colour'\]"),
        (lambda t: t.slice(1), "list image rows 0 to 3"),
        (lambda t: t.take(pa.array([6, 0, 1, 2, 3, 4, 5])), "in order"),
        (lambda t: with_column(t, "caption_id", [None, 1, 2, 3, 4, 5, 6]), "announces 7 captions, samples has 6"),
        (lambda t: with_column(t, "file", [None] * 7), "file"),
        (lambda t: with_column(t, "width", ["wide"] * 7), "do not fit their schema"),
        (lambda t: with_column(t, "skip_reason", [None] * 7), "caption 1030 of image 103 is used but has no tokens"),
        (lambda t: with_column(t, "skip_reason", ["dull"] * 7), "caption 1000 of image 100 is skipped but has"),
    ],
)  # fmt: skip
def test_samples_that_do_not_fit_the_shard_are_refused(example, writer, change, message):
    activations, samples = example.shard(0)
    with pytest.raises(ShardContentError, match=message):
        writer.write_shard(0, activations, change(samples))
    assert not list(writer.path.rglob("c.*"))


def test_columns_that_the_writer_fills_in_may_be_absent(example, cache, writer):
    for shard in writer.missing_shards:
        activations, samples = example.shard(shard)
        writer.write_shard(shard, activations, samples.drop_columns(["pair", "caption_row", "tokens"]))
    assert writer.finish().samples.equals(cache.samples)


def test_a_finished_cache_has_nothing_left_to_write(example, path):
    writer = CacheWriter.open(path, example.manifest)
    assert writer.missing_shards == []
    assert writer.finish().pairs == 13


@pytest.mark.parametrize("text_tokens", [None, 89])
def test_the_disk_budget_covers_the_cache_and_is_close_for_vision(example, path, text_tokens):
    budget = disk_budget(example.manifest, text_tokens)
    size = {part: sum(f.stat().st_size for f in (path / part).rglob("c.*")) for part in ("vision", "text")}
    assert budget.vision == size["vision"]
    assert budget.text >= size["text"] - (path / "text/starts/c.0").stat().st_size * 2
    assert budget.total >= sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_a_cache_that_the_disk_cannot_hold_is_refused_before_anything_is_written(example, tmp_path):
    many = 1 << 24
    manifest = Manifest(
        **{**example.manifest.to_json(), "images": many, "captions": many, "shard_images": many,
           "shard_captions": [many], "patches": many, "grid": (4096, 4096)}
    )  # fmt: skip
    with pytest.raises(DiskSpaceError, match=r"needs up to [\d.]+ .B more, the disk has [\d.]+ .?B free"):
        CacheWriter.open(tmp_path / "huge.zarr", manifest)
    assert not (tmp_path / "huge.zarr").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_real_disk_that_runs_full_in_a_shard_or_in_the_end_loses_no_committed_shard(
    example, cache, small_disk
):
    filler = small_disk / "filler"

    def fill(but):
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(bytes(max(0, free - but)))

    with CacheWriter.open(small_disk / "c.zarr", example.manifest) as writer:
        writer.write_shard(0, *example.shard(0))
        fill(but=16384)
        with pytest.raises(
            DiskSpaceError, match=r"shard 1: the disk is full .*1 of 3 shards are committed and kept"
        ):
            writer.write_shard(1, *example.shard(1))
        filler.unlink()
        for shard in (1, 2):
            writer.write_shard(shard, *example.shard(shard))
        fill(but=8192)
        with pytest.raises(DiskSpaceError, match=r"the disk is full .*3 of 3 shards are committed and kept"):
            writer.finish()
        with pytest.raises(CacheIncompleteError):
            ActivationCache.open(writer.path)
    with pytest.raises(DiskSpaceError, match=r"needs up to .* more, the disk has .* free"):
        CacheWriter.open(small_disk / "c.zarr", example.manifest)
    filler.unlink()
    with CacheWriter.open(small_disk / "c.zarr", example.manifest) as writer:
        assert writer.missing_shards == []
        writer.finish()
    assert contents(small_disk / "c.zarr") == contents(cache.path)


def test_only_what_remains_to_be_written_must_fit_on_the_disk(example):
    whole, missing = disk_budget(example.manifest), disk_budget(example.manifest, shards=[1])
    assert 0 < missing.vision < whole.vision and 0 < missing.text < whole.text
    assert disk_budget(example.manifest, shards=[]).vision == 0


def test_a_disk_that_runs_full_loses_no_committed_shard(example, writer, tmp_path, monkeypatch):
    example.write(tmp_path / "whole.zarr")
    writer.write_shard(0, *example.shard(0))
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
        write = os.write
        patch.setattr(os, "write", lambda _, content: write(full.fileno(), content))
        with pytest.raises(
            DiskSpaceError, match=r"shard 1: the disk is full .*1 of 3 shards are committed and kept"
        ):
            writer.write_shard(1, *example.shard(1))
    assert not list(writer.path.rglob("*.partial"))
    assert writer.missing_shards == [1, 2]
    writer.close()
    example.write_into(CacheWriter.open(writer.path, example.manifest))
    assert contents(writer.path) == contents(tmp_path / "whole.zarr")


def test_a_folder_in_which_nothing_can_be_made_is_reported(example, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot be written \(Not a directory: /.*/example.zarr\)"):
        CacheWriter.open(tmp_path / "file" / "example.zarr", example.manifest)


def test_a_file_size_limit_is_reported_like_a_full_disk(example, writer):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128, hard))
    try:
        with pytest.raises(DiskSpaceError, match="shard 0: the disk is full"):
            writer.write_shard(0, *example.shard(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert example.write_into(writer).pairs == 13


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}
