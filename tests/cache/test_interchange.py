"""A cache is read by plain Zarr, xarray, dask and Parquet tools, without this package, to the same numbers."""

import json
import warnings

import dask.array
import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray
import zarr

ARRAYS = ["vision/tokens", "vision/pooled", "text/pooled"]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def rows_in_use(cache, name):
    if name.startswith("vision"):
        return np.arange(cache.manifest.images)
    return cache.samples["caption_row"].drop_null().to_numpy()


@pytest.mark.parametrize("name", ARRAYS)
def test_zarr_dask_and_xarray_read_what_our_reader_reads(cache, name):
    rows = rows_in_use(cache, name)
    ours = cache.read_rows(name, rows)
    group, variable = name.split("/")
    for theirs in (
        zarr.open_array(cache.path / name, mode="r")[:],
        zarr.open_group(cache.path, mode="r")[name][:],
        dask.array.from_zarr(str(cache.path), component=name).compute(scheduler="synchronous"),
        xarray.open_zarr(cache.path, group=group)[variable].to_numpy(),
    ):
        np.testing.assert_array_equal(theirs[rows], ours)


def test_dimensions_are_named(cache):
    vision, text = (xarray.open_zarr(cache.path, group=group) for group in ("vision", "text"))
    assert vision["tokens"].dims == ("image", "patch", "channel")
    assert vision["pooled"].dims == ("image", "embedding")
    assert text["tokens"].dims == ("token", "channel")
    assert text["token_ids"].dims == ("token",)
    assert text["pooled"].dims == ("caption", "embedding")
    assert text["starts"].dims == text["lengths"].dims == ("caption",)


def test_captions_are_found_by_start_and_length(cache):
    text = xarray.open_zarr(cache.path, group="text").compute(scheduler="synchronous")
    samples = pq.read_table(cache.path / "samples.parquet").to_pylist()
    used = [row for row in samples if row["pair"] is not None]
    batch = cache.read_pairs(np.arange(cache.pairs))
    assert [row["pair"] for row in used] == batch.pair.tolist()
    for row, first, last in zip(used, batch.text_offsets, batch.text_offsets[1:], strict=False):
        start, length = (int(text[name][row["caption_row"]]) for name in ("starts", "lengths"))
        assert length == row["tokens"] == last - first
        tokens = text["tokens"][start : start + length]
        np.testing.assert_array_equal(tokens, batch.text_tokens[first:last])
        np.testing.assert_array_equal(text["token_ids"][start : start + length], batch.token_ids[first:last])


@pytest.mark.parametrize("side", ["vision", "text"])
def test_statistics_are_plain_arrays_and_attributes(cache, side):
    ours = cache.statistics[side]
    theirs = xarray.open_zarr(cache.path, group=f"statistics/{side}")
    np.testing.assert_array_equal(theirs["mean"], ours.mean)
    np.testing.assert_array_equal(theirs["variance"], ours.variance)
    assert theirs.attrs == {"count": ours.count, "overflow": ours.overflow}
    found = dict(
        zip(theirs["quantile"].values.tolist(), theirs["norm_quantiles"].values.tolist(), strict=True)
    )
    assert found == ours.norm_quantiles


def test_the_manifest_is_in_the_attributes_of_the_group(cache, example):
    attributes = zarr.open_group(cache.path, mode="r").attrs
    assert attributes["format"] == "concord-activation-cache" and attributes["complete"] is True
    assert attributes["manifest"] == example.manifest.to_json()
    assert attributes["totals"]["pairs"] == cache.pairs


def test_the_group_lists_every_array_without_listing_folders(cache):
    document = json.loads((cache.path / "zarr.json").read_text())
    consolidated = document["consolidated_metadata"]["metadata"]
    on_disk = {
        file.parent.relative_to(cache.path).as_posix(): file for file in cache.path.glob("*/**/zarr.json")
    }
    assert consolidated.keys() == on_disk.keys()
    for name, file in on_disk.items():
        alone = json.loads(file.read_text())
        alone.pop("consolidated_metadata", None)
        assert consolidated[name] == alone
