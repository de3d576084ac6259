"""Patch coverage against pixel counting, analytic areas and open_clip's own preprocessing."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image, ImageDraw

from pipeline.datasets.geometry import coverage_of_mask, mask_coverage, patch_coverage
from pipeline.datasets.masks import decompress_runs, segmentation_mask
from pipeline.errors import DatasetError

sizes = st.tuples(st.integers(4, 60), st.integers(4, 60))
grids = st.tuples(st.integers(1, 7), st.integers(1, 7))
modes = st.sampled_from(["squash", "shortest", "longest"])


@st.composite
def images_with_whole_pixel_boxes(draw):
    width, height = draw(sizes)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (width, height), (
        left,
        top,
        draw(st.integers(1, width - left)),
        draw(st.integers(1, height - top)),
    )


@given(images_with_whole_pixel_boxes(), grids)
def test_squashed_coverage_sums_to_the_share_of_the_image_in_the_box(image, grid):
    (width, height), box = image
    coverage = patch_coverage(box, (width, height), grid, "squash")
    assert coverage.shape == (grid[0] * grid[1],)
    assert coverage.sum().item() / coverage.numel() == pytest.approx(
        box[2] * box[3] / (width * height), rel=1e-5
    )


@given(images_with_whole_pixel_boxes(), grids, modes)
def test_box_coverage_equals_the_coverage_of_the_boxs_pixels(image, grid, mode):
    (width, height), (left, top, box_width, box_height) = image
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + box_height, left : left + box_width] = True
    torch.testing.assert_close(
        patch_coverage((left, top, box_width, box_height), (width, height), grid, mode),
        coverage_of_mask(mask, grid, mode),
    )


@given(sizes, grids, modes)
def test_the_whole_image_covers_every_patch_unless_the_backbone_pads(size, grid, mode):
    coverage = patch_coverage((0, 0, *size), size, grid, mode)
    if mode == "longest":
        patch = max(size[0] / grid[1], size[1] / grid[0])
        assert coverage.sum().item() == pytest.approx(size[0] * size[1] / patch**2, rel=1e-5)
    else:
        torch.testing.assert_close(coverage, torch.ones(grid[0] * grid[1]))


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("size", [(96, 48), (40, 80), (64, 64)])
def test_mask_coverage_counts_pixels_where_patches_are_whole_pixels(mode, size):
    grid, (width, height) = (4, 4), size
    mask = np.random.default_rng(7).random((height, width)) < 0.3
    squash = {"squash": size, "shortest": (min(size),) * 2, "longest": (max(size),) * 2}[mode]
    window = np.zeros(squash[::-1], dtype=bool)
    across, down = (width - squash[0]) // 2, (height - squash[1]) // 2
    for y in range(squash[1]):
        for x in range(squash[0]):
            if 0 <= y + down < height and 0 <= x + across < width:
                window[y, x] = mask[y + down, x + across]
    blocks = window.reshape(4, squash[1] // 4, 4, squash[0] // 4)
    expected = torch.from_numpy(blocks.mean(axis=(1, 3)).ravel().astype(np.float32))
    torch.testing.assert_close(coverage_of_mask(mask, grid, mode), expected)


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("size", [(320, 211), (150, 401)])
def test_coverage_agrees_with_what_open_clip_shows_its_model(mode, size):
    box = (size[0] * 0.35, size[1] * 0.4, size[0] * 0.3, size[1] * 0.25)
    picture = Image.new("RGB", size)
    ImageDraw.Draw(picture).rectangle(
        [round(box[0]), round(box[1]), round(box[0] + box[2]) - 1, round(box[1] + box[3]) - 1], fill="white"
    )
    preprocess = image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode)
    shown = preprocess(picture)[0].reshape(14, 16, 14, 16).mean(dim=(1, 3)).ravel()
    coverage = patch_coverage(box, size, (14, 14), mode)
    assert (coverage - shown).abs().max() < 0.12
    assert (coverage - shown).abs().mean() < 0.01


def test_a_box_outside_the_crop_covers_nothing():
    assert patch_coverage((0, 0, 20, 100), (300, 100), (4, 4), "shortest").sum() == 0


def test_the_part_of_a_box_outside_the_image_counts_for_nothing_even_where_the_backbone_pads():
    inside = patch_coverage((10, 0, 40, 50), (100, 50), (5, 5), "longest")
    torch.testing.assert_close(patch_coverage((10, -30, 40, 200), (100, 50), (5, 5), "longest"), inside)


def mask_of(segmentation, image_size):
    return segmentation_mask(json.dumps(segmentation), image_size)


whole = st.integers(-5, 25)


@given(whole, whole, st.integers(1, 20), st.integers(1, 20))
def test_a_polygon_along_pixel_borders_covers_the_pixels_inside_of_it(left, top, width, height):
    right, bottom = left + width, top + height
    expected = np.zeros((15, 18), dtype=bool)
    expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    mask = mask_of([[left, top, right, top, right, bottom, left, bottom]], (18, 15))
    np.testing.assert_array_equal(mask, expected)


def test_the_area_of_small_objects_is_that_of_their_outline():
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([4 * np.cos(angles), 4 * np.sin(angles)], 1)
    centres = np.random.default_rng(0).uniform(8, 12, (200, 1, 2))
    areas = [mask_of([outline.ravel().tolist()], (20, 20)).sum() for outline in circle + centres]
    assert np.mean(areas) == pytest.approx(np.pi * 16, rel=0.01)


def test_several_polygons_are_united():
    squares = [[1, 1, 5, 1, 5, 5, 1, 5], [3, 3, 8, 3, 8, 8, 3, 8]]
    assert mask_of(squares, (10, 10)).sum() == 16 + 25 - 4


@pytest.mark.parametrize("polygon", [[], [3, 4], [3, 4, 9, 8]])
def test_polygons_with_fewer_than_three_corners_cover_nothing(polygon):
    assert mask_of([polygon], (12, 12)).sum() == 0


def runs_of(mask):
    """Run lengths down the columns, background first, written independently of the reader."""
    lengths, current = [0], False
    for value in mask.T.ravel():
        if value != current:
            lengths.append(0)
            current = value
        lengths[-1] += 1
    return lengths


def compress(lengths):
    """COCO's `rleToString`."""
    text = ""
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        more = True
        while more:
            digit = value & 31
            value >>= 5
            more = value != -1 if digit & 16 else value != 0
            text += chr((digit | 32 if more else digit) + 48)
    return text


@given(sizes, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_and_their_compressed_text_give_the_mask_back(size, seed, share):
    mask = np.random.default_rng(seed).random(size[::-1]) < share
    lengths = runs_of(mask)
    runs = {"size": list(mask.shape), "counts": lengths}
    np.testing.assert_array_equal(mask_of(runs, size), mask)
    assert decompress_runs(compress(lengths)) == lengths


def test_compressed_text_of_the_coco_api_is_read():
    # Written by pycocotools 2.0 (mask.encode) for an ellipse with a rectangular hole.
    counts = (
        "]e0;_14L4M2M4M2N2O0O2N2N2O0O2O0O2O000O2O00000O2O0000POI;7EI;7EI;7EI;7EI;7EI;7EI;7EI;7EI;7EI;7EI;7EI;7EI;"
        "7EI;8DH;9d000001N10001N101N101N2N2N101N2N3L3N3L4LQb0"
    )
    y, x = np.mgrid[:60, :80]
    mask = ((x - 40) / 30) ** 2 + ((y - 30) / 22) ** 2 < 1
    mask[20:30, 35:50] = False
    np.testing.assert_array_equal(mask_of({"size": [60, 80], "counts": counts}, (80, 60)), mask)


def test_mask_coverage_reads_every_kind_of_segmentation_alike():
    square = [[10.0, 4.0, 22.0, 4.0, 22.0, 20.0, 10.0, 20.0]]
    mask = mask_of(square, (40, 30))
    runs = {"size": [30, 40], "counts": runs_of(mask)}
    text = {"size": [30, 40], "counts": compress(runs_of(mask))}
    expected = patch_coverage((10, 4, 12, 16), (40, 30), (3, 4), "squash")
    for segmentation in (square, runs, text):
        torch.testing.assert_close(
            mask_coverage(json.dumps(segmentation), (40, 30), (3, 4), "squash"), expected
        )


@pytest.mark.parametrize(
    ("segmentation", "complaint"),
    [
        ([[1, 2, 3, 4, 5, 6, 7]], "must be x0, y0, x1, y1"),
        ([[1, 2, 3, 4, 5, "6"]], "Expected `float`, got `str`"),
        ([1, 2, 3, 4, 5, 6], "Expected `array`, got `int`"),
        ({"size": [4, 5], "counts": 7}, "'counts' is 7: Expected `str | array`"),
        ({"counts": [3]}, "missing required field `size`"),
        ({"size": [5, 4], "counts": [20]}, "RLE of height, width"),
        ({"size": [4, 5], "counts": [7, 12]}, "add up to 19"),
        ({"size": [4, 5], "counts": "P"}, "stops inside a number"),
        ({"size": [4, 5], "counts": " 1"}, "character"),
    ],
)
def test_malformed_segmentations_are_refused(segmentation, complaint):
    with pytest.raises(DatasetError, match=complaint):
        mask_of(segmentation, (5, 4))
