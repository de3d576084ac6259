"""A cache is read by plain Zarr, xarray, dask and Parquet tools, without this package, to the same numbers."""

import functools
import json
import warnings

import dask.array
import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray
import zarr

from cache import STORAGE_DTYPES, ActivationCache, CacheFormatError
from cache.operations import verify

ARRAYS = ["vision/tokens", "vision/pooled", "text/tokens", "text/pooled"]


FORMS = [
    *((dtype, "none") for dtype in STORAGE_DTYPES),
    *[
        ("float16", "zstd"),
        ("int8", "zstd"),
        ("bfloat16", "pcodec"),
        ("float32", "pcodec"),
        ("float16", "bitround"),
    ],
]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr version 3 specification")
        yield


@pytest.fixture(scope="module", params=FORMS, ids="-".join)
def stored(request, Example, tmp_path_factory):  # noqa: N803
    """The default example in every storage dtype, and with every codec."""
    path = tmp_path_factory.mktemp("interchange") / "example.zarr"
    dtype, codec = request.param
    return Example(storage_dtype=dtype, codec=codec).write(path)


def rows_in_use(cache, name):
    if name.startswith("vision"):
        return np.arange(cache.manifest.images)
    captions = cache.samples["caption_row"].drop_null().to_numpy()
    if name == "text/pooled":
        return captions
    spans = zip(cache.caption_starts[captions], cache.caption_lengths[captions], strict=True)
    return np.concatenate([np.arange(start, start + length) for start, length in spans])


def with_zarr(path, name):
    return zarr.open_array(path / name, mode="r")[:]


def with_zarr_group(path, name):
    return zarr.open_group(path, mode="r")[name][:]


def with_dask(path, name):
    return dask.array.from_zarr(str(path), component=name).compute(scheduler="synchronous")


def with_xarray(path, name):
    group, variable = name.split("/")
    return xarray.open_zarr(path, group=group)[variable].to_numpy()


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("read", [with_zarr, with_zarr_group, with_dask, with_xarray])
def test_zarr_dask_and_xarray_read_what_our_reader_reads(stored, read, name):
    rows = rows_in_use(stored, name)
    theirs, ours = read(stored.path, name)[rows], stored.read_rows(name, rows)
    assert theirs.dtype == ours.dtype
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_documented_arithmetic_gives_what_our_reader_decodes(stored, name):
    rows, read = rows_in_use(stored, name), functools.partial(with_xarray, stored.path)
    values = read(name)[rows]
    if zarr.open_array(stored.path / name, mode="r").attrs.get("stored_dtype") == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if values.dtype == np.int8:
        values = dequantised(read, name, values, rows)
    ours = stored.read_stored(name, rows).decoded()
    np.testing.assert_array_equal(values.astype(np.float32), ours)


def dequantised(read, name, values, rows):
    side = name.split("/")[0]
    scale = read(f"{side}/token_scale")[rows].astype(np.float32)[..., None]
    mean, std = read(f"{side}/channel_mean"), read(f"{side}/channel_std")
    shard_rows = len(read(f"{side}/token_scale")) // len(mean) if side == "text" else 4
    shard = rows // shard_rows
    if side == "vision":
        mean, std = mean[:, None], std[:, None]
    return np.where(scale > 0, values * scale * std[shard] + mean[shard], np.float32(0))


def test_the_calibration_of_int8_has_the_dimensions_of_what_it_calibrates(Example, tmp_path):  # noqa: N803
    example = Example(storage_dtype="int8")
    cache = example.write(tmp_path / "example.zarr")
    for side in ("vision", "text"):
        group = xarray.open_zarr(cache.path, group=side)
        assert group["token_scale"].dims == group["tokens"].dims[:-1]
        assert group["channel_mean"].dims == group["channel_std"].dims == ("shard", "channel")
        assert group.sizes["shard"] == example.manifest.shards


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
        for document in (alone, consolidated[name]):
            document.pop("consolidated_metadata", None)
        assert consolidated[name] == alone


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_metadata_in_the_form_of_another_writer_is_sound_and_another_meaning_is_not(Example, tmp_path, dtype):  # noqa: N803
    cache = Example(storage_dtype=dtype).write(tmp_path / "example.zarr")
    for file in cache.path.glob("**/zarr.json"):
        file.write_text(json.dumps(in_another_form(json.loads(file.read_text()))), encoding="utf-8")
    assert verify(cache.path).sound
    ActivationCache.open(cache.path).read_pairs(np.arange(cache.pairs))
    file = cache.path / "vision/pooled/zarr.json"
    file.write_text(file.read_text().replace('"embedding"', '"channel"'), encoding="utf-8")
    assert [problem.file for problem in verify(cache.path).problems] == ["vision/pooled/zarr.json"]
    with pytest.raises(
        CacheFormatError, match=r"vision/pooled/zarr.json: dimension_names is \['image', 'channel'\]"
    ):
        ActivationCache.open(cache.path)


def in_another_form(document):
    """Other order, no keys that may be left out, and the endianness of single bytes, which means nothing."""
    if isinstance(document, list):
        return list(map(in_another_form, document))
    if not isinstance(document, dict):
        return document
    if document == {"name": "bytes"}:
        return {"configuration": {"endian": "little"}, "name": "bytes"}
    kept = {key: in_another_form(value) for key, value in reversed(document.items())}
    return {key: value for key, value in kept.items() if key != "storage_transformers"}
