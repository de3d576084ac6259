"""The art keeps its promises: it fills its boxes, shows its colour, and no two things look alike."""

import io
import random
from dataclasses import fields, replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import resvg_py
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.world.scenes.art import ACTIONS, HORIZON, NOUN_ART, SETTING_ART
from pipeline.world.scenes.palette import PALETTES, Palette

POSES = [(noun, action) for noun, art in NOUN_ART.items() for action in (None, *art.poses)]
EVERY_POSE = pytest.mark.parametrize(("noun", "action"), POSES)
EVERY_SETTING = pytest.mark.parametrize("setting", SETTING_ART)
MARGIN = 10


def rasterise(elements, view, width, shape_rendering="geometric_precision"):
    """RGBA pixels of SVG elements seen through the view box `view`."""
    png = resvg_py.svg_to_bytes(
        svg_string=f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">{elements}</svg>',
        width=round(width),
        shape_rendering=shape_rendering,
        skip_system_fonts=True,
    )
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


@cache
def drawing(noun, action, palette, scale=1, shape_rendering="geometric_precision"):
    """The noun in its box with an empty margin around it, `scale` pixels per unit."""
    art = NOUN_ART[noun]
    width = 100 * art.aspect + 2 * MARGIN
    view = f"{-MARGIN} {-MARGIN} {width} {100 + 2 * MARGIN}"
    return rasterise(art.draw(palette, action), view, scale * width, shape_rendering)


@cache
def silhouette(noun, action):
    """The silhouette cropped to its bounding box and stretched to 48 x 48 pixels."""
    filled = drawing(noun, action, Palette.flat("#000000"))[..., 3] > 127
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    cropped = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(Image.fromarray(cropped).resize((48, 48)))


@cache
def scenery(setting, seed):
    return rasterise(SETTING_ART[setting](random.Random(seed)), "0 0 400 400", 112)[..., :3]


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


def rgb(css):
    return np.array([int(css[k : k + 2], 16) for k in (1, 3, 5)])


def lab(colour):
    """CIE L*a*b* (D65) of sRGB values in [0, 255], in which distances are roughly perceptual."""
    c = np.asarray(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def test_actions_list_exactly_the_poses_that_can_be_drawn():
    assert {noun: set(actions) for noun, actions in ACTIONS.items()} == {
        noun: set(art.poses) for noun, art in NOUN_ART.items() if art.poses
    }


def test_an_action_without_a_pose_is_refused_and_the_known_ones_are_named():
    with pytest.raises(DatasetError, match=r"'flying'.*running, sitting"):
        NOUN_ART["cat"].draw(Palette.of("red"), "flying")


@EVERY_POSE
def test_every_pose_renders_in_every_colour(noun, action):
    for colour, palette in PALETTES.items():
        pixels = drawing(noun, action, Palette.of(colour), scale=0.5)
        shown = pixels[pixels[..., 3] == 255][:, :3]
        assert (np.abs(shown - rgb(palette.main)).max(axis=1) <= 2).mean() > 0.3, colour


@EVERY_POSE
def test_a_flat_palette_leaves_one_colour_and_hard_edges(noun, action):
    pixels = drawing(noun, action, Palette.flat("#030507"), shape_rendering="crisp_edges").reshape(-1, 4)
    assert {tuple(pixel) for pixel in np.unique(pixels, axis=0)} == {(0, 0, 0, 0), (3, 5, 7, 255)}


@EVERY_POSE
def test_a_drawing_fills_its_box(noun, action):
    filled = drawing(noun, action, Palette.flat("#000000"), scale=2)[..., 3] > 127
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    ends = np.array([rows[0], columns[0], filled.shape[0] - 1 - rows[-1], filled.shape[1] - 1 - columns[-1]])
    gaps = ends / 2 - MARGIN
    assert gaps.max() <= 3.5
    assert gaps.min() >= -1


@EVERY_POSE
def test_the_named_colour_dominates_the_drawing(noun, action):
    marked = replace(
        Palette.flat("#000000"), main="#ff0000", light="#00ff00", dark="#00ff00", outline="#0000ff"
    )
    pixels = drawing(noun, action, marked)
    main, shades, outline = (pixels[pixels[..., 3] > 127][:, :3] > 127).mean(axis=0)
    neutral = 1 - main - shades - outline
    assert main > 0.42
    assert main + shades > 0.6
    assert main > 1.2 * max(shades, outline, neutral)


@EVERY_POSE
def test_a_drawing_is_plain_paths_that_can_stand_anywhere_in_a_document(noun, action):
    art = NOUN_ART[noun].draw(Palette.of("red"), action)
    for clashing_or_slow in (" id=", "url(", "opacity", "<g", "filter", "Gradient"):
        assert clashing_or_slow not in art


def test_different_nouns_have_different_silhouettes():
    for one, other in combinations(POSES, 2):
        if one[0] != other[0]:
            assert overlap(silhouette(*one), silhouette(*other)) < 0.84, (one, other)


@pytest.mark.parametrize("noun", ACTIONS)
def test_an_action_changes_the_silhouette(noun):
    for one, other in combinations((None, *ACTIONS[noun]), 2):
        assert overlap(silhouette(noun, one), silhouette(noun, other)) < 0.9


@pytest.mark.parametrize("role", [role.name for role in fields(Palette)])
def test_every_role_of_every_palette_is_an_opaque_css_colour(role):
    for palette in PALETTES.values():
        assert rgb(getattr(palette, role)).shape == (3,)
        assert len(getattr(palette, role)) == 7


def test_the_ten_colours_are_far_apart():
    mains = {colour: lab(rgb(palette.main)) for colour, palette in PALETTES.items()}
    for one, other in combinations(mains, 2):
        assert np.linalg.norm(mains[one] - mains[other]) > 25, (one, other)


@EVERY_SETTING
def test_a_setting_depends_on_its_random_numbers_only(setting):
    draw = SETTING_ART[setting]
    assert draw(random.Random(3)) == draw(random.Random(3))
    assert draw(random.Random(3)) != draw(random.Random(4))


@EVERY_SETTING
def test_a_setting_covers_the_whole_canvas(setting):
    for seed in range(3):
        for width in (112, 224, 400):
            pixels = rasterise(SETTING_ART[setting](random.Random(seed)), "0 0 400 400", width)
            assert (pixels[..., 3] == 255).all()


@EVERY_SETTING
@pytest.mark.parametrize("colour", PALETTES)
def test_things_of_every_colour_stand_out_in_every_setting(setting, colour):
    background = lab(np.concatenate([scenery(setting, seed).reshape(-1, 3) for seed in range(3)]))
    palette = PALETTES[colour]
    contrast = [np.linalg.norm(background - lab(rgb(css)), axis=1) for css in (palette.main, palette.outline)]
    assert np.percentile(np.maximum(*contrast), 1) > 24


def test_settings_look_different_from_each_other():
    views = {setting: lab(scenery(setting, 1)[::10, ::10]) for setting in SETTING_ART}
    for one, other in combinations(views, 2):
        assert np.linalg.norm(views[one] - views[other], axis=-1).mean() > 5, (one, other)


def test_every_setting_has_a_horizon_between_sky_and_ground():
    assert set(HORIZON) == set(SETTING_ART)
    for setting, horizon in HORIZON.items():
        pixels = lab(scenery(setting, 2))
        row = round(112 * horizon)
        above, below = pixels[row - 20 : row - 10].mean((0, 1)), pixels[row + 12 : row + 22].mean((0, 1))
        assert np.linalg.norm(above - below) > 3, setting
