"""Every benchmark runs, at a size that says nothing, and writes what the performance page is made from."""

import json

import pytest

from benchmarks import annotations, encode, loader, matching, schedule, zarr_reading
from benchmarks.performance_page import PAGE, performance_page
from pipeline.datasets.coco import CocoDataset


@pytest.mark.parametrize(
    ("main", "command_line", "ratios"),
    [
        (
            loader.main,
            "--images 16 --shard-images 8 --channels 4 --batch-pairs 4 --rounds 1",
            {"stream_over_memmap_warm", "stream_over_memmap_cold", "host_over_memmap", "write_over_raw"},
        ),
        (
            encode.main,
            "--backbones tiny --tiny-images 4 --decoded-images 4 --rounds 1",
            {"wall_over_forward_tiny", "decoding_speedup"},
        ),
        (
            schedule.main,
            "--backbone tiny --pairs 2 --latents 64 --rounds 1",
            {"reencoding_over_cached"},
        ),
    ],
    ids=["loader", "encode", "schedule"],
)
def test_a_benchmark_states_its_ratios(main, command_line, ratios, tmp_path):
    main([*command_line.split(), "--folder", str(tmp_path), "--json", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ratios"].keys() == ratios
    assert all(ratio > 0 for ratio in result["ratios"].values())
    assert "result" in performance_page(tmp_path)


def test_zarr_python_is_compared_in_every_way_that_its_version_offers(tmp_path):
    sizes = "--images 8 --shard-images 4 --channels 4 --rows 2 --rounds 1"
    zarr_reading.main([*sizes.split(), "--folder", str(tmp_path), "--json", str(tmp_path / "result.json")])
    ratios = json.loads((tmp_path / "result.json").read_text())["ratios"]
    assert {name.split()[-1] for name in ratios} >= {"slices", "oindex"}
    assert all(ratio > 0 for ratio in ratios.values())


def test_the_time_of_a_match_is_that_of_one_that_finds_what_was_planted(tmp_path):
    sizes = "--latents 64 96 --pairs 128 --rounds 1"
    matching.main([*sizes.split(), "--json", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ratios"].keys() == {f"encode_over_co_activation_{latents}" for latents in (64, 96)}
    assert len(result["measured"]) == 8


def test_the_annotations_that_are_timed_are_read_whole(tmp_path):
    size = annotations.write_annotations(tmp_path, images=4, objects=9)
    assert size == sum(path.stat().st_size for path in (tmp_path / "annotations").iterdir())
    images = CocoDataset.open(tmp_path, annotations.SPLIT, captions_per_image="all").images
    assert [len(image.captions) for image in images] == [5, 5, 5, 5]
    assert [len(image.objects) for image in images] == [3, 2, 2, 2]
    assert [image.unusable is None for image in images] == [True, False, False, False]


def test_the_performance_page_is_what_the_results_say():
    assert PAGE.read_text(encoding="utf-8") == performance_page()
