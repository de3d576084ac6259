"""Exported files are read by plain safetensors and pyarrow to the values that the reader gives."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from cache import CacheError
from cache.operations import export


@pytest.mark.parametrize("storage_dtype", ["float16", "bfloat16", "float32", "int8"])
def test_safetensors_hold_every_pair_once(Example, tmp_path, storage_dtype):  # noqa: N803
    cache = Example(storage_dtype=storage_dtype).write(tmp_path / "c.zarr")
    export(cache, tmp_path / "files", "safetensors")
    batch, seen, dtypes = cache.read_pairs(np.arange(cache.pairs)), [], set()
    for file in sorted((tmp_path / "files").glob("shard-*.safetensors")):
        tensors = load_file(file)
        assert len(tensors["vision_tokens"]) == len(tensors["image_id"].unique())
        dtypes.add(tensors["vision_tokens"].dtype)
        for row, pair in enumerate(tensors["pair"].tolist()):
            image = tensors["image"][row]
            ours = slice(*tensors["text_offsets"][row : row + 2].tolist())
            theirs = slice(*batch.text_offsets[pair : pair + 2].tolist())
            assert tensors["vision_tokens"][image].float().equal(batch.vision_tokens[pair])
            assert tensors["vision_pooled"][image].float().equal(batch.vision_pooled[pair])
            assert tensors["text_tokens"][ours].float().equal(batch.text_tokens[theirs])
            assert tensors["token_ids"][ours].equal(batch.token_ids[theirs])
            assert tensors["text_pooled"][row].float().equal(batch.text_pooled[pair])
            assert tensors["image_id"][image] == cache.pair_images[pair] + 100
            seen.append(pair)
    assert seen == list(range(cache.pairs))
    assert dtypes == {torch.float32 if storage_dtype == "int8" else getattr(torch, storage_dtype)}


@pytest.mark.parametrize("storage_dtype", ["float16", "bfloat16"])
def test_parquet_holds_every_pair_once(Example, tmp_path, storage_dtype):  # noqa: N803
    example = Example(storage_dtype=storage_dtype)
    cache = example.write(tmp_path / "c.zarr")
    export(cache, tmp_path / "files", "parquet")
    batch, seen = cache.read_pairs(np.arange(cache.pairs)), []
    for file in sorted((tmp_path / "files").glob("shard-*.parquet")):
        for image in pq.read_table(file).to_pylist():
            for caption in image["pairs"]:
                pair = caption["pair"]
                theirs = slice(*batch.text_offsets[pair : pair + 2].tolist())
                assert image["image_id"] == cache.pair_images[pair] + 100
                np.testing.assert_array_equal(image["vision_tokens"], batch.vision_tokens[pair].flatten())
                np.testing.assert_array_equal(image["vision_pooled"], batch.vision_pooled[pair])
                np.testing.assert_array_equal(caption["text_tokens"], batch.text_tokens[theirs].flatten())
                np.testing.assert_array_equal(caption["token_ids"], batch.token_ids[theirs])
                np.testing.assert_array_equal(caption["text_pooled"], batch.text_pooled[pair])
                seen.append(pair)
    assert seen == list(range(cache.pairs))


def test_the_files_are_described_beside_them(cache, tmp_path):
    progress = []
    export(cache, tmp_path / "files", "safetensors", lambda *done: progress.append(done))
    description = json.loads((tmp_path / "files/description.json").read_text())
    tensors = load_file(tmp_path / "files/shard-00000.safetensors")
    assert description["contents"].keys() == tensors.keys()
    assert description["manifest"] == cache.manifest.to_json()
    assert pq.read_table(tmp_path / "files/samples.parquet").equals(cache.samples)
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_a_shard_without_pairs_is_an_empty_file(Example, tmp_path):  # noqa: N803
    cache = Example(undecodable=frozenset({0, 1, 2, 3})).write(tmp_path / "c.zarr")
    for kind in ("safetensors", "parquet"):
        export(cache, tmp_path / kind, kind)
    assert len(load_file(tmp_path / "safetensors/shard-00000.safetensors")["pair"]) == 0
    assert len(pq.read_table(tmp_path / "parquet/shard-00000.parquet")) == 0


def test_a_folder_with_something_in_it_is_left_alone(cache, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CacheError, match="not empty"):
        export(cache, tmp_path, "parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_reported(cache, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot be written \(Not a directory: /.*/folder\)"):
        export(cache, tmp_path / "file/folder", "parquet")
